"""The driver alone: so many shards whose workers cost nothing, through the real runner and store.

    .venv/bin/python -m tests.benchmarks.scale --shards 100000

Prints CPU seconds and memory of every phase of `bench run` and of reading the results back.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from bench.boards.gather import boards
from bench.cli.progress import Reporter
from bench.measure import executors, runner
from bench.measure.executors.fleet import Executor, Fleet, Watch, Work
from bench.measure.runner import Summary
from bench.measure.weights_used import code_used
from bench.measure.worker import Setup, Task
from bench.plan.plan import Draft, make
from bench.plan.request import Request
from bench.results.store import Plan, Record, Store
from tests.factories import records

T = TypeVar("T")
R = TypeVar("R")

FAKE = "fake"
WEIGHTS = {"natural": "a" * 64}


def today(defense: str, attack: str) -> dict[str, str]:
    """Every cell's weights: one file."""
    return WEIGHTS


def planned(shards: int) -> tuple[Plan, Draft]:
    """Real cells, as many seeds of them as it takes; of the 10,000 images of CIFAR-10."""
    few = Request(["all"], ["all"], "cifar10", subset="test", preset="quick", controls=[])
    whole, _ = make(few)
    seeds = max(1, -(-shards // (whole.shards * len(whole.cells))))
    return make(replace(few, seeds=seeds))


def finished(task: Task) -> Record:
    """A record of a task, as a worker would have made it."""
    cell = task.planned.cell
    bits = np.ones((1, task.draws, 32), dtype=np.bool_)
    (made,) = records(cell, bits, weights=WEIGHTS)
    return replace(made, shard=task.shard, code=code_used(cell.defense, cell.attack, cell.dataset))


def fake(workers: int) -> Executor:
    """An executor whose workers are always done; it holds `workers` tasks at a time."""

    def execute(
        tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]
    ) -> Generator[R, None, None]:
        for place, task in enumerate(tasks):
            watch(tasks[place : place + workers])
            yield cast("R", finished(cast("Task", task)))

    return execute


@contextmanager
def phase(name: str, shards: int) -> Iterator[None]:
    """Print what the block costs."""
    began, clock = time.process_time(), time.perf_counter()
    yield
    spent, wall = time.process_time() - began, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    each = 1e3 * spent / max(shards, 1)
    print(f"{name:28} {spent:8.1f} CPU s {wall:8.1f} s {each:8.3f} ms a shard {peak:8.0f} MB peak")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """All phases in turn, in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given.shards, given.workers)


def measure(folder: Path, shards: int, workers: int, say: Callable[..., Any] = phase) -> Summary:
    """The phases, each under its name."""
    executors.EXECUTORS[FAKE] = fake(workers)
    with say("plan", shards):
        made, draft = planned(shards)
    units = [(item.cell.digest, n) for item in made.cells for n in range(made.shards)][:shards]
    mine, store, summary = frozenset(units), Store(folder), Summary()
    with say("what is pending (nothing there)", shards):
        tasks = runner.pending(made, store, today, summary, Setup(), mine=mine)
        tasks = [replace(task, results="") for task in tasks]
    with say("the records themselves", shards):
        for task in tasks:
            finished(task)
    reporter = Reporter(made, draft, tasks, summary, quiet=True)
    with say("run, with making the records", shards), reporter:
        store.write_plan(made)
        tasks = runner.longest_first(tasks, made, draft.costs)
        fleet = Fleet(FAKE)
        runner.run(tasks, store, fleet, summary, reporter.advance, watch=reporter.watch)
    with say("is everything there", shards):
        runner.require_all(made, store, summary, mine)
    with say("what is pending (all there)", shards):
        again = runner.pending(made, Store(folder), today, Summary(), Setup(), mine=mine)
        assert not again
    with say("boards", shards):
        boards(Store(folder), made.dataset)
    return summary


if __name__ == "__main__":
    main()
