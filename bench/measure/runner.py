"""Pending shards to an executor, its records to the store. Knows no defense or attack by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.errors import BenchError
from bench.files.write import remove_parts
from bench.measure import precision as gate
from bench.measure import weights_used
from bench.measure.executors import EXECUTORS
from bench.measure.executors.fleet import Fleet, Watch, Work
from bench.measure.worker import Failure, Found, Saved, Setup, Task, measure
from bench.plan.cost import Cost
from bench.plan.plan import draws_of
from bench.plan.slices import Unit
from bench.results.store import EXTRAS, Plan, Record, Store, contradictions, fingerprints
from bench.threat import CERTIFIED

Progress = Callable[[Task, float], None]


@dataclass
class Summary:
    """What a run did. Failures are shards that have no number.

    gate: what a reduced precision was found to change, by the defense's label. again: records
    that are measured again because their points are wanted and not stored. broken: why records
    that are there cannot be read; they are moved aside and measured again. changed: how many
    records were made with another file, network or code of each name than today's. other_code: how
    many were kept although the code of each of the project's own plug-ins was another.
    """

    measured: int = 0
    kept: int = 0
    stale: int = 0
    again: int = 0
    broken: list[str] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    other_code: Counter[str] = field(default_factory=Counter)
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
    save: bool = False,
) -> list[Task]:
    """The shards (of `mine`, where that is given) without a record made with today's weights.

    weights(defense, attack) gives today's sha256 by name. draws: of the judge, 0 for the data
    set's own number. A cell keeps the most draws that any of its records has, so that a run with
    fewer continues it instead of mixing. save: also those without stored points.

    Raises:
        BenchError: a record of another cell or format; it is named and nothing is overwritten.
    """
    tasks = []
    for planned in plan.cells:
        cell = planned.cell
        today = weights(cell.defense, cell.attack)
        # A certificate is a proof of the image itself: there are no points.
        wanted = save and cell.threat != CERTIFIED
        here = [
            shard for shard in range(plan.shards) if mine is None or (cell.digest, shard) in mine
        ]
        records = {shard: store.sound(planned, shard, summary.broken) for shard in here}
        fresh = {n: r for n, r in records.items() if r and dict(r.weights) == today}
        judged = max(
            [
                draws_of(cell.dataset, cell.defense, cell.threat, draws),
                *(r.draws for r in fresh.values()),
            ]
        )
        for shard, record in records.items():
            there = fresh.get(shard)
            valid = there is not None and there.draws == judged
            if there and valid and there.code:
                code = weights_used.code_used(cell.defense, cell.attack, cell.dataset)
                other = {*there.code.items()} - {*code.items()}
                summary.other_code.update(name for name, _ in other)
            if there and valid and not (wanted and store.lacks_points(there)):
                summary.kept += 1
                continue
            summary.again += valid
            summary.stale += record is not None and not valid
            if record:
                before = {*record.weights.items()} ^ {*today.items()}
                summary.changed.update({name for name, _ in before})
            asked = Task(planned, shard, plan.preset, setup, today, judged, wanted)
            tasks.append(replace(asked, results=str(store.root.absolute())))
    return tasks


def gated(
    tasks: Sequence[Task],
    plan: Plan,
    fleet: Fleet,
    summary: Summary,
    say: Callable[[str], None] = lambda text: None,
    *,
    watch: Watch[Task] = lambda tasks: None,
) -> list[Task]:
    """The tasks in the precision that the gate allows each defense; in float32 as they are."""
    if not tasks or tasks[0].setup.precision == "float32":
        return list(tasks)
    setup, trials = tasks[0].setup, gate.trials(tasks, plan)
    say(f"first {setup.precision} against float32, {gate.STEPS} steps on {plan.images} images")
    work = Work[gate.Trial, gate.Compared | Failure](setup.start, gate.compare, gate.lost)

    def watched(under_way: Sequence[gate.Trial]) -> None:
        watch([trial.task for trial in under_way])

    with closing(EXECUTORS[fleet.executor](trials, work, fleet, watched)) as compared:
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
    *,
    watch: Watch[Task] = lambda tasks: None,
) -> Summary:
    """Measure every task and write each record whole as soon as it is there.

    A stale record in a task's place is moved aside first: a run that is interrupted leaves a gap
    there, never the old number. One that is measured again for its points stays, and must agree.
    """
    if not tasks:
        return summary
    store.root.mkdir(parents=True, exist_ok=True)
    remove_parts(store.root)
    for task in tasks:
        before = store.sound(task.planned, task.shard)
        same = before is not None and (before.weights, before.draws) == (task.weights, task.draws)
        if not same:
            store.retire(task.planned, task.shard)
    by_key = {(task.planned.cell.digest, task.shard): task for task in tasks}
    work = Work[Task, Record | Saved | Found | Failure](tasks[0].setup.start, measure, Failure)
    with closing(EXECUTORS[fleet.executor](tasks, work, fleet, watch)) as results:
        for result in results:
            if isinstance(result, Found):
                summary.kept += 1
                progress(result.task, 0.0)
                continue
            kept = result if isinstance(result, Failure) else _keep(store, by_key, result)
            if isinstance(kept, Failure):
                summary.failures.append(kept)
                progress(kept.task, 0.0)
                continue
            summary.measured += 1
            task = by_key[kept.cell.digest, kept.shard]
            progress(task, float(kept.timing["seconds"]))
    return summary


def _keep(store: Store, tasks: Mapping[Unit, Task], result: Record | Saved) -> Record | Failure:
    """Write a record with its points; beside one that is there, the points, if the two agree."""
    if not store.root.is_dir():
        raise _gone(store.root)
    record, points = (result.record, result.points) if isinstance(result, Saved) else (result, b"")
    task = tasks[record.cell.digest, record.shard]
    before = store.read(task.planned, record.shard) if points else None
    if before is not None:
        if names := contradictions(fingerprints(before), fingerprints(record)):
            return Failure(
                task,
                f"measured again for its points, it differs in {', '.join(names)} from its record, "
                "which stays (other software, device or precision?); move it away and run again",
            )
        record = replace(before, **{name: getattr(record, name) for name in EXTRAS})
    store.write(task.planned, record, points)
    return record


def require_all(
    plan: Plan, store: Store, summary: Summary, mine: Collection[Unit] | None = None
) -> None:
    """After a run, every shard of a plan (of `mine`, where given) has a record or a failure.

    Raises:
        BenchError: records were removed meanwhile.
    """
    failed = {(f.task.planned.cell.digest, f.task.shard) for f in summary.failures}
    for planned in plan.cells:
        for shard in range(plan.shards):
            unit = planned.cell.digest, shard
            wanted = unit not in failed and (mine is None or unit in mine)
            if wanted and not store.path(planned, shard).exists():
                raise _gone(store.path(planned, shard))


def _gone(path: Path) -> BenchError:
    return BenchError(
        f"{path} was removed or moved during the run; what was in it is lost here, the same "
        "command measures it again"
    )


def longest_first(tasks: Sequence[Task], plan: Plan, costs: Sequence[Cost]) -> list[Task]:
    """Expensive cells first, so that no worker ends alone on one; ties in the plan's order."""
    total = {p.cell.digest: c.total for p, c in zip(plan.cells, costs, strict=True)}
    return sorted(tasks, key=lambda task: -total[task.planned.cell.digest])
