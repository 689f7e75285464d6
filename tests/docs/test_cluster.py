"""What docs/cluster.md tells to type; its Ray run is `tests/measure/executors/test_ray.py`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.group import cli
from tests.factories import repeatable

TEXT = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, re.S)
SCRIPT = next(block for block in BLOCKS if block.startswith("#!"))
AFTER = next(block for block in BLOCKS if "bench merge" in block)
STARTS = next(block for block in BLOCKS if "ray start" in block)
RAY_RUN = next(block for block in BLOCKS if "--executor ray" in block)


def contents(folder: Path) -> dict[str, dict[str, object]]:
    """Every file of results, as far as it is reproducible."""
    return {
        str(path.relative_to(folder)): repeatable(path.read_text())
        for path in folder.rglob("*.json")
    }


def here(*arguments: str) -> None:
    """The command in this process, which has imported what it needs."""
    before = signal.getsignal(signal.SIGINT)
    assert cli([*arguments], standalone_mode=False) == 0
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `bench` is this very project."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "bench"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bench "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_array_job_and_its_merge_equal_one_run(
    tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = re.findall(r"--array=1-(\d+)", SCRIPT)
    for job in range(1, int(found) + 1):
        array = {"SLURM_ARRAY_TASK_ID": str(job), "SLURM_ARRAY_TASK_COUNT": found}
        subprocess.run(["bash", "-c", SCRIPT], env={**shell, **array}, cwd=tmp_path, check=True)
    done = subprocess.run(
        ["bash", "-ec", AFTER], env=shell, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "part-" not in done.stdout
    assert "gaussian:runs=2@natural" in done.stdout
    command = re.sub(r"\\\n.*", "", SCRIPT[SCRIPT.index("bench run") :]).split()
    monkeypatch.chdir(tmp_path)
    here(*command[1:], "--results", "one")
    assert contents(tmp_path / "results") == contents(tmp_path / "one")


def test_ray_knows_the_options_of_its_commands() -> None:
    lines = re.findall(r"ray start (.*)", STARTS)
    assert len(lines) == 2
    code = (
        "from ray.scripts.scripts import start; print(*(o for p in start.params for o in p.opts))"
    )
    known = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    asked = {option.partition("=")[0] for line in lines for option in re.findall(r"--\S+", line)}
    assert asked <= set(known)


def test_the_token_is_made_once_and_is_the_owners(tmp_path: Path) -> None:
    block = next(block for block in BLOCKS if "RAY_AUTH_TOKEN_PATH" in block)
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-ec", block + "cat $RAY_AUTH_TOKEN_PATH"],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        (token,) = tmp_path.iterdir()
        assert token.read_text() == done.stdout
        assert len(done.stdout.strip()) == 64
        assert token.stat().st_mode & 0o777 == 0o600
