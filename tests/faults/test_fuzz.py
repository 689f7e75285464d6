"""No damaged or hostile file hangs a reader, fills memory, or ends in anything but one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.reference import GOLDEN

FAMILIES = ("checkpoints", "data", "texts", "results")
ROOT = GOLDEN.parents[1]
WHOLE_S = 600
"""A guard against hanging where no alarm is heard."""


def run(family: str, cases: int, limit: int) -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", family, str(cases)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found
    for reader, came in found.items():
        assert not came["failures"], f"python -m tests.faults.fuzz {reader} CASE CASE+1: {came}"
        assert came["cases"] == cases
        assert came["refused"] >= cases // 10, f"{reader} takes what is damaged: {came}"


@pytest.mark.parametrize("family", FAMILIES)
def test_fifty_files_for_each_reader(family: str) -> None:
    run(family, 50, WHOLE_S)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_thousand_files_for_each_reader(family: str) -> None:
    run(family, 1_000, 6 * WHOLE_S)
