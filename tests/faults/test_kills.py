"""SIGKILL anywhere: the same command resumes, and at the end the files are those of an easy run.

Killed are the command, one of its workers, all its processes at once, the command while it writes a
file or has just named it, and a worker while it writes its answer. Moments and victims come from a
seeded generator.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.factories import repeatable
from tests.faults.guard import within

KINDS = ("command", "worker", "group", "file", "named", "pipe")
KILLS = 240
"""Of the slow test; a multiple of the kinds."""
LIMIT = 60
"""Seconds that a command, or the end of its workers, may take on a busy machine."""
RUN = shlex.split(
    "run --defense none --attacks clean,fgsm --dataset digits --images 64 --control off "
    "--preset quick --workers 2 --save-adversarial --results results"
)
FILES = 9
"""That such a run writes: a plan, and four records with their points."""


@dataclass
class Warm:
    """The forking process, and how long an easy run took."""

    process: subprocess.Popen[str]
    easy: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0

    def begin(self, folder: Path, spot: str = "", number: int = 0) -> int:
        """The process of a command."""
        order = {"arguments": RUN, "folder": str(folder), "spot": spot, "number": number}
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        found = Warm(process)
        with within(4 * LIMIT):
            assert found.line() == "warm"
        folder = tmp_path_factory.mktemp("easy")
        began = time.monotonic()
        finish(found, folder, found.begin(folder))
        found.seconds = time.monotonic() - began
        found.easy = contents(folder)
        assert len(found.easy) == FILES
        yield found
        process.communicate(timeout=LIMIT)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the results; of records all but how long they took."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if "records" in path.parts and path.suffix == ".json":
                data = json.dumps(repeatable(data)).encode()
            found[str(path.relative_to(folder))] = data
    return found


def finish(warm: Warm, folder: Path, group: int, code: int = 0) -> None:
    """A command ends as it should, and none of its processes stays."""
    said = folder / "said.txt"
    with within(LIMIT):
        assert warm.line() == str(code), said.read_text()
        while members(group):
            time.sleep(0.01)
    assert "Traceback" not in said.read_text()


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


def kill(warm: Warm, folder: Path, kind: str, chance: random.Random) -> bool:
    """Kill something of a command; whether there was something left to kill."""
    if kind in ("file", "named", "pipe"):
        number = chance.randrange(3 if kind == "pipe" else FILES)
        # Two workers give four answers and say twice that they are ready.
        group = warm.begin(folder, kind, number)
        finish(warm, folder, group, 0 if kind == "pipe" else -signal.SIGKILL)
        return kind != "pipe" or (folder / "torn").exists()
    group = warm.begin(folder)
    time.sleep(chance.uniform(0, warm.seconds))
    workers = [pid for pid in members(group) if pid != group]
    hit = False
    with suppress(ProcessLookupError):
        if kind == "command":
            hit = group in members(group)
            os.kill(group, signal.SIGKILL)
        elif kind == "group":
            hit = group in members(group)
            os.killpg(group, signal.SIGKILL)
        elif workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            hit = True
    with within(LIMIT):
        code = warm.line()
        while members(group):
            time.sleep(0.01)
    assert code in (("0",) if kind == "worker" else ("0", "-9")), (folder / "said.txt").read_text()
    return hit and (kind == "worker" or code == "-9")


def survived(warm: Warm, folder: Path, kind: str, chance: random.Random) -> bool:
    """Whether something was killed; whatever was, the same command ends with the same files."""
    folder.mkdir()
    hit = kill(warm, folder, kind, chance)
    for part in (folder / "results").rglob("*.part"):
        os.utime(part, (1, 1))  # as if a minute had passed
    finish(warm, folder, warm.begin(folder))
    assert contents(folder) == warm.easy, kind
    return hit


def many(warm: Warm, folder: Path, kills: int, seed: int) -> Counter[str]:
    chance, done, tries = random.Random(seed), Counter[str](), 0
    while sum(done.values()) < kills:
        tries += 1
        assert tries <= 4 * kills, f"most kills come too late: {done}"
        kind = KINDS[sum(done.values()) % len(KINDS)]
        done[kind] += survived(warm, folder / str(tries), kind, chance)
    return done


def test_a_few_kills(warm: Warm, tmp_path: Path) -> None:
    assert len(many(warm, tmp_path, len(KINDS), seed=1)) == len(KINDS)


@pytest.mark.slow
def test_kills(warm: Warm, tmp_path: Path) -> None:
    done = many(warm, tmp_path, KILLS, seed=2)
    assert done == dict.fromkeys(KINDS, KILLS // len(KINDS))
