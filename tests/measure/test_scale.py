"""Two thousand shards through the real driver, counted: what it does grows with them, no faster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.boards.gather import boards
from bench.cli.progress import Reporter
from bench.measure import executors, runner, weights_used, worker
from bench.measure.executors.fleet import Fleet
from bench.measure.runner import Summary
from bench.measure.worker import Found, Setup, Task
from bench.plan.plan import draws_of, make
from bench.plan.request import Request
from bench.results import record as records
from bench.results.store import Record, Store
from tests.benchmarks.scale import FAKE, fake, finished, planned, today

SHARDS = 2000
WORKERS = 50


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()

    def counted(owner: Any, name: str, method: Callable[..., Any]) -> None:
        def wrapped(*args: Any, **more: Any) -> Any:
            found[name] += 1
            return method(*args, **more)

        monkeypatch.setattr(owner, name, wrapped)

    counted(Path, "glob", Path.glob)
    counted(Path, "rglob", Path.rglob)
    counted(records.Cell, "told", records.Cell.told)
    counted(Path, "read_text", Path.read_text)
    counted(runner, "draws_of", draws_of)
    # The disk is not what is asked here.
    counted(os, "fsync", lambda file: None)
    return found


def test_every_phase_of_a_run_grows_with_its_shards(
    tmp_path: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors.EXECUTORS, FAKE, fake(WORKERS))
    made, draft = planned(SHARDS)
    cells = len(made.cells)
    mine = {(p.cell.digest, n) for n in range(made.shards) for p in made.cells}
    mine = set(sorted(mine)[:SHARDS])
    store, summary = Store(tmp_path), Summary()

    counts.clear()
    tasks = runner.pending(made, store, today, summary, Setup(), mine=mine)
    assert len(tasks) == SHARDS
    assert counts == {"glob": 1, "draws_of": cells}

    counts.clear()
    reporter = Reporter(made, draft, tasks, summary, quiet=True)
    with reporter:
        runner.run(tasks, store, Fleet(FAKE), summary, reporter.advance, watch=reporter.watch)
    assert (summary.measured, summary.failures) == (SHARDS, [])
    # What dead processes left, and each record once; none is read.
    assert counts == {"rglob": 1, "fsync": SHARDS}

    counts.clear()
    runner.require_all(made, store, summary, mine)
    assert not counts

    again = Summary()
    assert not runner.pending(made, Store(tmp_path), today, again, Setup(), mine=mine)
    assert again.kept == SHARDS
    assert counts == {"glob": 1, "read_text": SHARDS, "told": 2 * SHARDS, "draws_of": cells}

    counts.clear()
    store.write_plan(made)
    boards(Store(tmp_path), made.dataset)
    assert counts["read_text"] == SHARDS + 1
    assert counts["glob"] + counts["rglob"] == 2


def test_a_worker_lists_the_folder_once(tmp_path: Path, counts: Counter[str]) -> None:
    plan, _ = make(Request(["none"], ["clean"], "digits", images=512))
    (item,) = plan.cells
    weights = weights_used.weights_used(item.cell.defense, item.cell.attack, "digits")
    tasks = [
        Task(item, n, "quick", Setup(), weights, 1, results=str(tmp_path))
        for n in range(plan.shards)
    ]
    for task in tasks:
        made = finished(task)
        Store(tmp_path).write(item, Record(**{**vars(made), "weights": weights}))
    counts.clear()
    assert all(isinstance(worker.measure(task), Found) for task in tasks)
    assert counts["glob"] == 1
