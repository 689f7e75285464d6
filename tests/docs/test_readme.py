"""Every command that the README shows, run; the long ones are planned instead."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
LINES = [line for block in re.findall(r"```\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("bench ")]
BOARD = [line for line in TEXT.splitlines() if line.startswith("|")]


def bench(arguments: list[str], cwd: Path) -> str:
    command = [sys.executable, "-m", "bench", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


LONG = ("bench check --all", "bench doctor")
"""They look at everything that is there."""


@pytest.mark.slow
def test_the_example_prints_the_board_that_it_shows(tmp_path: Path) -> None:
    """Same rows and columns; figures may differ by an image or two between processors."""
    run, table = COMMANDS[:2]
    bench(shlex.split(run)[1:], tmp_path)
    printed = bench(shlex.split(table)[1:], tmp_path)
    shown = [line for line in printed.splitlines() if line.startswith("|")][: len(BOARD)]
    assert cells(shown[0]) == cells(BOARD[0])
    said = "\n".join(line for line in TEXT.splitlines() if line.startswith(">"))
    lead = re.findall(r"(?:Best of 3 rows:|Best purifier:|against|BPDA overstates:) \S+", said)
    assert len(lead) == 5
    assert all(text.rstrip(",") in printed for text in lead)
    for ours, theirs in zip(shown[2:], BOARD[2:], strict=True):
        new, old = cells(ours), cells(theirs)
        assert (new[1:3], new[6:]) == (old[1:3], old[6:])
        assert new[5].split()[0] == old[5].split()[0]
        for a, b in zip(new[3:5], old[3:5], strict=True):
            assert abs(float(a.split()[0]) - float(b.split()[0])) <= 100 * 2 / 32


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=pytest.mark.slow if command in LONG else ())
        for command in COMMANDS[2:]
    ],
)
def test_the_other_commands_work(command: str, tmp_path: Path) -> None:
    _, name, *rest = shlex.split(command)
    bench(["plan" if name == "run" else name, *rest], tmp_path)


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line.split()[1] for line in LINES if line.startswith("make ")]
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)
