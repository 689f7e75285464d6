"""A process that has imported everything and forks a `bench` command for each line it is given.

A line of stdin is an order: arguments, folder, and the spot at which a process of the command is to
be killed. Answered are the process, when it has begun, and its exit code, when it has ended.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from bench import cli
from bench.cli.group import invoke
from bench.files import write as whole
from bench.measure.executors import local, process


def main() -> None:
    torch.set_num_threads(1)
    local.START = multiprocessing.get_context("fork")  # type: ignore[assignment]  # of this test
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["bench", *shlex.split(WARM), "--results", folder, "--json"]
        kept, out = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        assert invoke() == 0
        sys.stdout.flush()
        os.dup2(kept, 1)
    print("warm", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _command(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


WARM = "run --defense none --attacks clean --dataset digits --images 32 --control off"


def _command(order: dict[str, Any]) -> None:
    os.setsid()
    os.chdir(order["folder"])
    log = os.open("said.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    SPOTS[order["spot"]](order["number"])
    sys.argv = ["bench", *order["arguments"]]
    try:
        cli.main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(99)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _nowhere(number: int) -> None:
    """Killed from outside, or not at all."""


def _in_the_file(number: int) -> None:
    """The command dies when the number-th file lies half written beside its place."""
    left = [number]
    sync = os.fsync

    def fsync(file: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.truncate(file, os.fstat(file).st_size // 2)
            _die()
        sync(file)

    whole.os.fsync = fsync  # type: ignore[attr-defined]


def _after_the_file(number: int) -> None:
    """The command dies when the number-th file has just got its name."""
    left = [number]
    rename = Path.replace

    def replace(path: Path, target: str | os.PathLike[str]) -> Path:
        found = rename(path, target)
        left[0] -= 1
        if left[0] < 0:
            _die()
        return found

    Path.replace = replace  # type: ignore[method-assign, assignment]


def _in_the_pipe(number: int) -> None:
    """The first worker that gives its number-th answer dies in the middle of it."""
    left, write = [number], os.write

    def torn(file: int, data: memoryview) -> int:
        write(file, data[: max(1, len(data) // 2)])
        _die()
        return 0

    whole_answer: Callable[..., None] = process._send

    def send(pipe: Connection, kind: str, said: object = None) -> None:
        left[0] -= 1
        if left[0] < 0 and not Path("torn").exists():
            Path("torn").touch()
            os.write = torn  # type: ignore[assignment]  # of this worker
        whole_answer(pipe, kind, said)

    process._send = send


SPOTS: dict[str, Callable[[int], None]] = {
    "": _nowhere,
    "file": _in_the_file,
    "named": _after_the_file,
    "pipe": _in_the_pipe,
}

if __name__ == "__main__":
    main()
