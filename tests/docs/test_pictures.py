"""What docs/pictures.md tells to type, in its order, and the pictures that it shows."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest

from bench.cli.group import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "pictures.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
SHOWN = re.findall(r"!\[.+?\]\((.+?)\)", TEXT, re.S)


def typed(line: str) -> None:
    """The command in this process, which has imported what it needs."""
    program, *arguments = shlex.split(line.replace("leaderboards/", f"{ROOT}/leaderboards/"))
    assert program == "bench"
    before = signal.getsignal(signal.SIGINT)
    assert not cli([*arguments], standalone_mode=False)
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_every_command_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [line for line in COMMANDS if line.startswith("bench show ")]
    assert len(made) == 10
    for line in COMMANDS:
        typed(line)
    for line in made:
        out = tmp_path / shlex.split(line)[-1]
        head = out.read_bytes()[:400]
        assert head.startswith(b"\x89PNG") or b"<svg" in head or b"<!DOCTYPE svg" in head


def test_the_pictures_shown_are_small_and_there() -> None:
    assert len(SHOWN) == 4
    for name in SHOWN:
        content = (ROOT / "docs" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 100_000
