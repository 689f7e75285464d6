"""Ctrl-C, a killed worker and a full disk: one line, the right exit code, nothing lost."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from bench.cli import interrupt
from tests.cli.test_cli import RUN, bench, one_line

PURIFIER = """
import multiprocessing, os, signal
from bench.api.purifier import Purifier
from bench.api import defense

class Fatal(Purifier):
    def forward(self, x):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

@defense("fatal")
def fatal(context):
    '''Kills workers, and works without.'''
    return Fatal()
"""
SWALLOWING = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass
"""


def test_ctrl_c_while_starting_is_not_swallowed_by_an_import(tmp_path: Path) -> None:
    plugin = tmp_path / "swallows.py"
    plugin.write_text(SWALLOWING)
    result = bench("list", "attacks", "--plugin", str(plugin))
    assert result.returncode == 130
    assert result.stdout == ""
    assert result.stderr.strip() == f"bench: {interrupt.MESSAGE}"


def test_ctrl_c_that_a_library_swallows_stops_after_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(interrupt, "_asked", False)

    def swallowed() -> None:
        with interrupt.in_order():
            interrupt.check()
            exec(SWALLOWING)

    try:
        with pytest.raises(KeyboardInterrupt):
            swallowed()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_worker_killed_by_the_system(tmp_path: Path) -> None:
    plugin = tmp_path / "fatal.py"
    plugin.write_text(PURIFIER)
    run = [*RUN, "--defense", "fatal", "--attacks", "clean", "--plugin", str(plugin)]
    result = bench(*run, "--workers", "2", cwd=tmp_path)
    assert result.returncode == 2
    said = "failed: fatal@natural clean: lost 3 workers: killed, perhaps out of memory"
    assert said in result.stderr
    assert "1 shard measured" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert bench(*run, cwd=tmp_path).returncode == 0


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, size[1]))
    try:
        result = bench(*RUN, "--defense", "none", "--attacks", "clean,square", cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
    assert "cannot write" in one_line(result)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "plans" not in p.parts]
