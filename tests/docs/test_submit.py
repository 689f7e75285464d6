"""What docs/submit.md tells to type, in its order; and the refusal of the real command."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from bench.cli.group import cli
from bench.measure import build
from bench.measure.shard import subset_here
from tests.cli.test_cli import bench, one_line

TEXT = (Path(__file__).parents[2] / "docs" / "submit.md").read_text()
SCRIPT = re.findall(r"```python\n(.*?)```", TEXT, re.S)[0]
COMMANDS = [
    line for block in re.findall(r"```\n(bench .*?)```", TEXT, re.S) for line in block.splitlines()
]


def typed(line: str) -> None:
    """The command in this process, which has imported what it needs."""
    program, *arguments = shlex.split(line)
    assert program == "bench"
    before = signal.getsignal(signal.SIGINT)
    assert not cli([*arguments], standalone_mode=False)
    signal.signal(signal.SIGINT, before)


def test_every_step_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(SCRIPT, {})
    verify, run, table, store, again = COMMANDS
    typed(verify)
    said = capsys.readouterr().out
    assert "fresh draws" in said
    assert "recorded" not in said
    suggested = said.strip().splitlines()[-1]
    assert "submitted:file=mine.safetensors" in suggested
    assert shlex.split(suggested)[:2] == shlex.split(run)[:2]
    typed(run)
    typed(table)
    assert "submitted:file=mine.safetensors" in capsys.readouterr().out
    typed(store)
    typed(f"{again} --json")
    (found,) = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert found["accuracy"]["fresh draws"] == found["accuracy"]["recorded"]
    assert found["images"] == 32
    for name, sha256 in found["points"].items():
        assert Path(name).is_file()
        assert len(sha256) == 64


def test_the_command_refuses_one_image_in_one_line(tmp_path: Path) -> None:
    subset = subset_here("digits", "512")
    x = build.dataset("digits").take(subset.split, subset.index[:3]).x.numpy().copy()
    x[1, 0, 3, 3] = (x[1, 0, 3, 3] + 0.5) % 1
    np.save(tmp_path / "mine.npy", x)
    result = bench("verify", "mine.npy", "--defense", "none", "--dataset", "digits", cwd=tmp_path)
    assert f"image {subset.index[1]} (row 1) is outside linf:0.125: distance 0.5" in one_line(
        result
    )
    assert result.stdout == ""
