"""Pending shards to an executor, its records to the store. Knows no defense or attack by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from bench import gate
from bench.cost import Cost
from bench.executors import EXECUTORS, Fleet, Work
from bench.plan import draws_of
from bench.results import Plan, Record, Store
from bench.slices import Unit
from bench.worker import Failure, Setup, Task, measure

Progress = Callable[[Task, float], None]


@dataclass
class Summary:
    """What a run did. Failures are shards that have no number.

    gate: what a reduced precision was found to change, by the defense's label.
    """

    measured: int = 0
    kept: int = 0
    stale: int = 0
    failures: list[Failure] = field(default_factory=list)
    gate: dict[str, str] = field(default_factory=dict)


def pending(
    plan: Plan,
    store: Store,
    weights: Callable[[str, str], dict[str, str]],
    summary: Summary,
    setup: Setup,
    *,
    mine: Collection[Unit] | None = None,
    draws: int = 0,
) -> list[Task]:
    """The shards (of `mine`, where that is given) without a record made with today's weights.

    weights(defense, attack) gives today's sha256 by name. draws: of the judge, 0 for the data
    set's own number. A cell keeps the most draws that any of its records has, so that a run with
    fewer continues it instead of mixing.

    Raises:
        BenchError: a damaged or foreign record; it is named and nothing is overwritten.
    """
    tasks = []
    for planned in plan.cells:
        today = weights(planned.cell.defense, planned.cell.attack)
        here = [
            shard
            for shard in range(plan.shards)
            if mine is None or (planned.cell.digest, shard) in mine
        ]
        records = {shard: store.read(planned, shard) for shard in here}
        fresh = {n: r.draws for n, r in records.items() if r and dict(r.weights) == today}
        judged = max([draws_of(planned.cell, draws), *fresh.values()])
        for shard, record in records.items():
            if fresh.get(shard) == judged:
                summary.kept += 1
                continue
            summary.stale += record is not None
            tasks.append(Task(planned, shard, plan.preset, setup, today, judged))
    return tasks


def gated(
    tasks: Sequence[Task],
    plan: Plan,
    fleet: Fleet,
    summary: Summary,
    say: Callable[[str], None] = lambda text: None,
) -> list[Task]:
    """The tasks in the precision that the gate allows each defense; in float32 as they are."""
    if not tasks or tasks[0].setup.precision == "float32":
        return list(tasks)
    setup, trials = tasks[0].setup, gate.trials(tasks, plan)
    say(f"first {setup.precision} against float32, {gate.STEPS} steps on {plan.images} images")
    work = Work[gate.Trial, gate.Compared | Failure](setup.start, gate.compare, gate.lost)
    with closing(EXECUTORS[fleet.executor](trials, work, fleet)) as compared:
        decided = gate.decide(setup.precision, compared)
    for task in tasks:
        defense, reason = task.planned.defense, decided[task.planned.cell.defense].reason
        if defense not in summary.gate:
            say(f"{defense}: {reason}")
        summary.gate[defense] = reason
    return [
        replace(task, setup=decided[task.planned.cell.defense].applied(task.setup))
        for task in tasks
    ]


def run(
    tasks: Sequence[Task],
    store: Store,
    fleet: Fleet,
    summary: Summary,
    progress: Progress = lambda task, seconds: None,
) -> Summary:
    """Measure every task and write each record whole as soon as it is there.

    A stale record in a task's place is moved aside first: a run that is interrupted leaves a gap
    there, never the old number.
    """
    if not tasks:
        return summary
    for task in tasks:
        store.retire(task.planned, task.shard)
    by_key = {(task.planned.cell.digest, task.shard): task for task in tasks}
    work = Work[Task, Record | Failure](tasks[0].setup.start, measure, Failure)
    with closing(EXECUTORS[fleet.executor](tasks, work, fleet)) as results:
        for result in results:
            if isinstance(result, Failure):
                summary.failures.append(result)
                progress(result.task, 0.0)
                continue
            task = by_key[result.cell.digest, result.shard]
            store.write(task.planned, result)
            summary.measured += 1
            progress(task, float(result.timing["seconds"]))
    return summary


def longest_first(tasks: Sequence[Task], plan: Plan, costs: Sequence[Cost]) -> list[Task]:
    """Expensive cells first, so that no worker ends alone on one; ties in the plan's order."""
    total = {p.cell.digest: c.total for p, c in zip(plan.cells, costs, strict=True)}
    return sorted(tasks, key=lambda task: -total[task.planned.cell.digest])
