"""What `bench train` says while it works, and what Ctrl-C leaves of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from bench.cli.train import train_command
from bench.cli.training import Told
from tests.cli.test_cli import bench


def test_the_time_left_is_told_after_the_first_steps_and_once_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    told = Told("digits cnn", clock=lambda: now)
    told.begins(nn.Linear(3, 4), 0, 400, 128)
    for step in range(1, 401):
        now += 50.0 if step == 1 else 0.5
        told.stepped(step, 400, 1 / step)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "digits cnn: 16 parameters, 400 steps of 128 images",
        "digits cnn: step 6 of 400, loss 0.1667, about 3.3 min left",
        "digits cnn: step 126 of 400, loss 0.0079, about 2.3 min left",
        "digits cnn: step 246 of 400, loss 0.0041, about 77 s left",
        "digits cnn: step 366 of 400, loss 0.0027, about 17 s left",
        "digits cnn: step 400 of 400, loss 0.0025",
    ]


def test_slow_steps_are_told_after_a_minute_and_a_continued_run_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    told = Told("t", clock=lambda: now)
    told.begins(nn.Linear(1, 1), 1200, 2000, 8)
    for step in range(1201, 1204):
        now += 90.0
        told.stepped(step, 2000, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:3] == [
        "t: continues at step 1,200",
        "t: step 1,202 of 2,000, loss 0.5000, about 19.9 h left",
    ]


def test_what_an_interruption_leaves_is_said_as_it_is() -> None:
    told = Told("t")
    assert told.where() == "t: stopped before a step was made; the same command begins there"
    told.begins(nn.Linear(1, 1), 0, 20, 8)
    told.stepped(1, 20, 0.5)
    assert told.where().endswith("nothing of it is kept, the same command begins anew")
    told.kept(1)
    told.stepped(2, 20, 0.5)
    expected = "t: stopped at step 2 of 20; kept at step 1; the same command continues"
    assert told.where() == expected
    told.wrote(Path("natural.safetensors"))
    expected = "t: finished, its weights are in natural.safetensors; nothing after it is begun"
    assert told.where() == expected


def test_ctrl_c_after_the_last_step_says_that_the_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, onlooker: Told, **__: object) -> SimpleNamespace:
        onlooker.begins(nn.Linear(1, 1), 0, 1, 8)
        onlooker.stepped(1, 1, 0.5)
        onlooker.kept(1)
        signal.raise_signal(signal.SIGINT)
        return SimpleNamespace(path=tmp_path / "natural.safetensors", metadata={"merit": "1"})

    monkeypatch.setattr("bench.training.train.train", train)
    words = ["natural", "--dataset", "digits", "--out", str(tmp_path)]
    before = signal.getsignal(signal.SIGINT)
    try:
        with train_command.make_context("train", words) as asked:
            says = r"finished, its weights are in .*/natural\.safetensors; nothing after"
            with pytest.raises(KeyboardInterrupt, match=says):
                train_command.invoke(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_ctrl_c_keeps_the_step_and_the_same_command_continues(tmp_path: Path) -> None:
    words = ["train", "natural", "--dataset", "digits", "--steps", "60", "--out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *words, str(tmp_path / "a")],
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " step 6 of 60" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    stopped = re.search(r"stopped at step (\d+) of 60; kept at step (\d+); the same command", rest)
    assert stopped, rest
    assert stopped[1] == stopped[2]
    again = bench(*words, str(tmp_path / "a"), BENCH_HOME=env["BENCH_HOME"])
    assert f"digits natural: continues at step {stopped[1]}\n" in again.stderr
    whole = bench(*words, str(tmp_path / "b"), BENCH_HOME=str(tmp_path / "other"))
    assert whole.returncode == again.returncode == 0, whole.stderr
    files = [(tmp_path / name / "natural.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
