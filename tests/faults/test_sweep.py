"""A sweep with a plug-in that misbehaves: it ends, says how, and stdout is the answer alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import RUN, bench

PLUGIN = """
import os, sys, time
from bench.api.purifier import Purifier
from bench.api import defense

print("loading")

class Own(BaseException):
    pass

class Bad(Purifier):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        print("purifying")
        os.write(1, b"from below")
        os.chdir("/")
        if self.how == "exit":
            sys.exit(0)
        if self.how == "generator":
            raise GeneratorExit
        if self.how == "own":
            raise Own("\\x1b[31mred\\x1b[0m\\n" + 10_000 * "x")
        if self.how == "sleep":
            time.sleep(600)
        return x

def add(how):
    @defense(how)
    def bad(context):
        '''Misbehaves.'''
        return Bad(how)

for how in ("exit", "generator", "own", "sleep", "fine"):
    add(how)
"""


@pytest.mark.slow
def test_every_shard_is_a_number_or_a_failure_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(PLUGIN)
    arguments = [*RUN, "--plugin", "bad.py", "--attacks", "clean", "--results", "my results"]
    defenses = "exit,generator,own,fine"
    result = bench(*arguments, "--defense", defenses, "--json", cwd=tmp_path)
    assert result.returncode == 2
    said = json.loads(result.stdout)
    assert said["measured"] == 2
    reasons = {failure["defense"]: failure["reason"] for failure in said["failures"]}
    assert reasons["exit@natural"] == "SystemExit: 0"
    assert reasons["generator@natural"].startswith("GeneratorExit")
    assert reasons["own@natural"].startswith("Own: red xxx")
    assert len(reasons["own@natural"]) < 600
    assert "\x1b" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert len(list((tmp_path / "my results").rglob("records/**/*.json"))) == 2
    again = bench(*arguments, "--defense", "fine", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout == "bench table --results 'my results' --dataset digits\n"
    assert "0 shards to measure, 2 finished before" in again.stderr


@pytest.mark.slow
def test_what_hangs_is_a_failure_by_name(tmp_path: Path) -> None:
    """Also with one worker; on a busy machine the other shard may take too long as well."""
    (tmp_path / "bad.py").write_text(PLUGIN)
    arguments = [*RUN, "--plugin", "bad.py", "--attacks", "clean", "--defense", "sleep", "--json"]
    result = bench(*arguments, "--shard-timeout", "10", cwd=tmp_path)
    assert result.returncode == 2
    said = json.loads(result.stdout)
    reasons = {failure["defense"]: failure["reason"] for failure in said["failures"]}
    assert reasons["sleep@natural"] == "took longer than 10 s (--shard-timeout)"
    assert said["measured"] + len(reasons) == 2
