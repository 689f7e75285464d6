"""The simulated makespan beside real runs with 1 and with 2 workers, on an idle machine.

    .venv/bin/python -m tests.benchmarks.schedule

Three numbers of workers' time by the clock: what `bench plan --workers --time` says before anything
has run; the order of work alone, simulated with the seconds that the records hold; and the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.estimate.schedule import Conditions, simulate
from bench.results.store import Store

WORKERS = (1, 2)
CELL = ("--attacks", "clean,bpda-eot,square,pgd-exact", "--preset", "quick", "--control", "off")


def bench(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """One line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--defense", default="adp")
    parser.add_argument("--dataset", default="patches")
    parser.add_argument("--images", default="128")
    given = parser.parse_args(arguments)
    asked = [
        "--defense",
        given.defense,
        "--dataset",
        given.dataset,
        "--images",
        given.images,
        *CELL,
    ]
    start_up = started()
    fleet = ["--workers", ",".join(map(str, WORKERS)), "--time", "--start-up", str(start_up)]
    before = json.loads(bench("plan", *asked, *fleet, "--json"))["schedule"]
    print(f"start-up {start_up:.1f} s")
    for workers, foretold in zip(WORKERS, before, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            bench("run", *asked, "--workers", str(workers), "--results", folder)
            real = time.perf_counter() - began
            seconds = [wall(record.timing) for record in Store(Path(folder)).records(given.dataset)]
        order = simulate(seconds, workers, Conditions(start_up)).makespan
        plan = float(foretold["makespan_s"])
        print(
            f"{workers} workers, {len(seconds)} shards: run {real:.1f} s, simulated with its own "
            f"seconds {order:.1f} s ({order / real - 1:+.1%}), foretold {plan:.1f} s "
            f"({plan / real - 1:+.1%})",
            flush=True,
        )


def wall(timing: Any) -> float:
    """Seconds of a shard by the clock, as its worker saw them."""
    return float(timing["wall_seconds"])


def started() -> float:
    """Seconds by the clock of the smallest run, which is all start-up; the second time."""
    words = ["--defense", "none", "--attacks", "clean", "--dataset", "digits", "--images", "32"]
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            bench("run", *words, "--results", folder)
            spent = time.perf_counter() - began
    return spent


if __name__ == "__main__":
    main()
