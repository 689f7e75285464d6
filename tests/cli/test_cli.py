"""The real command in a subprocess: what a user sees, exit codes, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import cli
from bench.models.zoo.weights import packaged
from tests.factories import repeatable

RUN = ["run", "--dataset", "digits", "--images", "32", "--preset", "quick", "--control", "off"]
RAY = [*RUN, "--defense", "none", "--executor", "ray"]
NATURAL = packaged("digits") / "natural.safetensors"
FOREIGN = packaged("patches") / "natural.safetensors"


def bench(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("bench: "), result.stderr
    assert "Traceback" not in result.stderr
    return lines[-1]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['bench', '--help']\n"
        "from bench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for command in ("run", "plan", "verify", "merge", "table", "list", "train", "check", "doctor"):
        assert command in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run"], "Missing option '--defense'"),
        ([*RUN, "--defense", "adpp"], "did you mean 'adp'"),
        ([*RUN, "--defense", "adp@naturl"], "did you mean 'natural'"),
        ([*RUN, "--defense", "adp:sigma=x"], "is not a number"),
        ([*RUN, "--defense", "none", "--attacks", "squar"], "did you mean 'square'"),
        ([*RUN, "--defense", "none", "--attacks", "joint-score"], "duplicate of classifier-pgd"),
        ([*RUN, "--defense", "none", "--threat", "linf:-1"], "an eps from 0 on"),
        ([*RUN, "--defense", "none", "--images", "0"], "--images"),
        ([*RUN, "--defense", "none", "--images", "x"], "--images"),
        ([*RUN, "--defense", "none", "--workers", "0"], "--workers"),
        ([*RUN, "--defense", "adp", "--resubmit", "0"], "--resubmit needs a positive number"),
        ([*RUN, "--defense", "adp", "--attacks", "spsa", "--resubmit", "3"], "of spsa nothing is"),
        ([*RUN, "--defense", "none", "--shard-timeout", "-1"], "--shard-timeout needs seconds"),
        ([*RUN, "--defense", "none", "--shard-timeout", "nan"], "--shard-timeout needs seconds"),
        ([*RUN, "--defense", "none", "--chunk", "33"], "multiple of 32"),
        ([*RUN, "--defense", "none", "--shard", "3/2"], "parts count from 1 to 2"),
        ([*RUN, "--defense", "none", "--executor", "rya"], "did you mean 'ray'"),
        ([*RUN, "--defense", "none", "--address", "h:1"], "--address goes with --executor ray"),
        ([*RUN, "--defense", "none", "--gpus-per-worker", "1"], "goes with --executor ray"),
        ([*RAY, "--address", "ray://h:1"], "is not HOST:PORT"),
        ([*RAY, "--gpus-per-worker", "1"], "--device cuda"),
        ([*RUN, "--defense", "none", "--attacks", "submitted"], "submitted:file=PATH"),
        ([*RUN, "--defense", "none", "--attacks", "submitted:file=x.pt"], ".npz, .npy files, not"),
        ([*RUN, "--defense", "none", "--attacks", "submitted:file=x.npz"], "cannot read x.npz"),
        ([*RUN, "--defense", "none", "--attacks", "submited:file=x.npz"], "mean 'submitted'"),
        (["verify"], "Missing argument 'PATH...'"),
        (["verify", "x.npz", "--defense", "none"], "cannot read x.npz"),
        (["verify", "x.npz", "--defense", "nnoe"], "did you mean 'none'"),
        (["verify", "x.npz", "--dataset", "digit"], "did you mean 'digits'"),
        (["verify", "x.npz", "--draws", "0"], "--draws needs at least 1"),
        (["verify", "x.npz", "--out", "y.npz"], "written as .safetensors"),
        (["verify", "x.npz", "--chunk", "33"], "multiple of 32"),
        (["table", "--paper", "", "--out", "cifar10.md"], "--paper is empty"),
        (["table", "--paper", "adp", "--compare", "adp", "none"], "does not go with --paper"),
        (["verify", "x.npz", "--threat", "linf:8", "--defense", "none"], "mean 'linf:8/255'"),
        (["merge", "nowhere", "--into", "there"], "no results in 'nowhere'"),
        (["merge", "--into", "there"], "Missing argument 'FROM...'"),
        ([*RUN, "--defense", "none", "--device", "warp"], "device 'warp'"),
        ([*RUN, "--defense", "none", "--device", "meta"], "unknown device 'meta'"),
        ([*RUN, "--defense", "none", "--device", "cuda:99"], "'cuda:99' is not available here"),
        ([*RUN, "--defense", "none", "--device", "cpu,cpu"], "twice"),
        ([*RUN, "--defense", "none", "--precision", "bf61"], "did you mean 'bf16'"),
        ([*RUN, "--defense", "none", "--precision", "tf32"], "CUDA devices only"),
        ([*RUN, "--defense", "none", "--plugin", "nowhere.py"], "does not exist"),
        ([*RUN, "--defense", "none", "--weights", "natural"], "NAME=PATH"),
        ([*RUN, "--defense", "none", "--weights", "natural=nowhere"], "nowhere"),
        ([*RUN, "--defense", "none", "--weights", f"natrual={NATURAL}"], "did you mean 'natural'"),
        ([*RUN, "--defense", "none", "--weights", f"natural={FOREIGN}"], "trained on data set"),
        ([*RUN, "--defense", "adp", "--control", "wienr"], "did you mean 'wiener'"),
        ([*RUN, "--defense", "none", "--control", "nothing"], "unknown defense 'nothing'"),
        ([*RUN, "--defense", "adp", "--control", "wiener@madry"], "classifiers of the defenses"),
        ([*RUN, "--defense", "none", "--threat", "l3:1"], "did you mean 'l2'"),
        ([*RUN, "--defense", "none", "--attacks", "square:quries=5"], "did you mean 'queries'"),
        ([*RUN, "--defense", "none", "--atacks", "all"], "--attacks"),
        (["list", "--dataset", "digit"], "did you mean 'digits'"),
        (["list", "--preset", "qick"], "did you mean 'quick'"),
        (["doctor", "--dataset", "digit"], "did you mean 'digits'"),
        (["train", "scor", "--dataset", "digits"], "did you mean 'score'"),
        ([*RUN, "--defense", "none", "--threat", "linf:8"], "did you mean 'linf:8/255'"),
        (["train", "cnn", "--dataset", "digits", "--device", "warp"], "device 'warp'"),
        (["train", "cnn", "--dataset", "digits", "--out", "/dev/null/x"], "cannot write to"),
        (["list", "defences"], "did you mean 'defenses'"),
        (["plan", "--defense", "none", "--dataset", "patchs"], "did you mean 'patches'"),
        (["train", "score@madry", "--dataset", "digits"], "'score' is the name of weights"),
        (["train", "noisy:steps=5", "--dataset", "digits"], "train them: bench train noisy"),
        (["train", ",", "--dataset", "digits"], "nothing to train"),
        (["train", "", "--dataset", "digits"], "nothing to train"),
        (["table", "--results", "nowhere", "--unpack", "there"], "no records of 'patches'"),
        (["check", "nothing-like-it"], "unknown"),
        (["check"], "name a plug-in or --all"),
        (["check", "median", "--all"], "exclude each other"),
        (["check", "median@madri"], "did you mean 'madry'"),
        (["check", "square@madry"], "it takes no classifier"),
        (["check", "aid@cnn"], "'cnn' offers none"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    monkeypatch.setattr(cli.interrupt, "leave_at_once", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    *before, said = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert said.startswith("bench: ")
    # A run says what it begins with as soon as all names are known.
    assert all(line.endswith(": starting") for line in before[:1])
    assert len(before) <= (arguments[0] == "run")
    assert says in said
    assert not list(tmp_path.rglob("*.json"))


def test_run_then_again_then_table(tmp_path: Path) -> None:
    first = bench(*RUN, "--defense", "none", "--attacks", "clean,classifier-pgd", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "2 shards to measure" in first.stderr
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    again = bench(
        *RUN, "--defense", "none", "--attacks", "clean,classifier-pgd", "--json", cwd=tmp_path
    )
    assert json.loads(again.stdout) == {"measured": 0, "kept": 2, "stale": 0, "failures": []}
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    table = bench("table", "--dataset", "digits", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert "none@natural" in table.stdout


@pytest.mark.slow
def test_a_reduced_precision_says_what_it_changes(tmp_path: Path) -> None:
    asked = ["--defense", "none", "--attacks", "clean", "--precision", "bf16", "--workers", "2"]
    result = bench(*RUN, *asked, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "of 64 verdicts of bf16 differ from float32" in result.stderr
    (file,) = tmp_path.rglob("000.json")
    timing = json.loads(file.read_text())["timing"]
    assert timing["precision"] in timing["gate"].rpartition(": ")[2]


def test_plan_json_has_cells_and_skips() -> None:
    result = bench("plan", *RUN[1:], "--defense", "none", "--json")
    data = json.loads(result.stdout)
    assert {"cells", "skips"} <= set(data)
    assert {"defense", "attack", "threat", "network_calls"} <= set(data["cells"][0])
    assert {"defense", "attack", "reason"} == set(data["skips"][0])


def test_list_shows_a_broken_entry_point_free_house() -> None:
    data = json.loads(bench("list", "--json").stdout)
    assert data["broken"] == []
    assert {"none", "adp", "wiener", "median", "gaussian", "jpeg"} <= {
        entry["name"] for entry in data["defenses"]
    }
    assert {"natural", "madry", "trades"} <= {entry["name"] for entry in data["classifiers"]}
    assert {entry["name"] for entry in data["datasets"]} >= {"patches", "digits"}


def test_nan_from_a_network_is_a_failed_shard_and_no_number(tmp_path: Path) -> None:
    plugin = tmp_path / "nan.py"
    plugin.write_text(
        "from bench.api.purifier import Purifier\n"
        "from bench.api import defense\n"
        "class Bad(Purifier):\n"
        "    def forward(self, x):\n        return x * float('nan')\n"
        "@defense('bad')\ndef bad(context):\n    '''Breaks.'''\n    return Bad()\n"
    )
    arguments = ["--defense", "bad", "--attacks", "clean", "--plugin", str(plugin)]
    result = bench(*RUN, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "NaN" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "results" / "digits" / "records" / "bad@natural").exists()


def test_an_unwritable_results_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    said = one_line(bench(*RUN, "--defense", "none", cwd=tmp_path))
    assert said == "bench: --results results is a file, not a folder"
    nowhere = bench("run", "--defense", "none", "--results", "", cwd=tmp_path)
    assert one_line(nowhere) == "bench: --results needs a folder, such as results"


@pytest.mark.parametrize("content", [b"<html>", b"", b"\x08\0\0\0\0\0\0\0{"])
def test_damaged_weights(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    arguments = ["--defense", "none", "--attacks", "clean", "--weights", f"natural={file}"]
    result = bench(*RUN, *arguments, cwd=tmp_path)
    assert "bad.safetensors" in one_line(result)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_and_started_again_it_equals_an_undisturbed_run(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    task = [*RUN[:4], "96", *RUN[5:], "--defense", "gaussian", "--attacks", "clean,bpda-eot"]

    def contents(folder: str) -> dict[str, dict[str, object]]:
        found = (tmp_path / folder / "digits" / "records").rglob("*.json")
        return {str(p.relative_to(tmp_path / folder)): repeatable(p.read_text()) for p in found}

    whole = bench(*task, "--results", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    arguments = [*task, "--results", "cut", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and not contents("cut"):
        time.sleep(0.01)  # the first record is the signal
    # A terminal sends Ctrl-C to the workers too; SIGKILL meets the parent alone.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, said = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in said
    cut = contents("cut")
    assert 0 < len(cut) < len(contents("whole"))
    rest = bench(*arguments, "--json", cwd=tmp_path)
    assert json.loads(rest.stdout)["kept"] == len(cut)
    assert contents("cut") == contents("whole")


def test_a_thread_that_a_plugin_left_running_does_not_hold_the_command() -> None:
    code = (
        "import sys, threading, time\nimport bench.cli as cli\ncli.PATIENCE = 0.2\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('said')\ncli._leave(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "said\n")
