"""One sweep from a plan to its records, whoever asked for it: the command or a Python session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, nearest
from bench.measure import weights_used
from bench.measure.executors.fleet import Fleet, Watch
from bench.measure.runner import Progress, Summary, gated, longest_first, pending, require_all, run
from bench.measure.shard import subset_here
from bench.measure.worker import Setup, Task
from bench.models.zoo.weights import find, packaged
from bench.plan import plan as plans
from bench.plan.cost import Cost
from bench.plan.plan import Draft
from bench.plan.request import Request
from bench.plan.slices import Slice, Unit
from bench.results.store import Plan, Store


@dataclass(frozen=True)
class Sweep:
    """A plan, and the shards of it (of `mine`) that have no record yet."""

    plan: Plan
    costs: Sequence[Cost]
    tasks: list[Task]
    store: Store
    summary: Summary
    mine: frozenset[Unit]

    def carry_out(
        self,
        fleet: Fleet,
        *,
        say: Callable[[str], None] = lambda text: None,
        progress: Progress = lambda task, seconds: None,
        watch: Watch[Task] = lambda tasks: None,
    ) -> None:
        """Measure the shards, each written as soon as it is there; `summary` tells of them.

        Raises:
            BenchError: no worker could start, or records were removed meanwhile.
        """
        tasks = gated(self.tasks, self.plan, fleet, self.summary, say, watch=watch)
        tasks = longest_first(tasks, self.plan, self.costs)
        run(tasks, self.store, fleet, self.summary, progress, watch=watch)
        require_all(self.plan, self.store, self.summary, self.mine)


def prepare(
    wanted: Request,
    planned: tuple[Plan, Draft],
    store: Store,
    setup: Setup,
    *,
    part: Slice | None = None,
    save: bool = False,
) -> Sweep:
    """What of a plan (of its `part`) is to be measured; the plan is stored, its notes are told.

    save: also what has a record without stored points.

    Raises:
        BenchError: a record that is another's, weights that nothing reads or that cannot be built,
            or images that are not here; all before any work.
    """
    made, draft = planned
    part = part or Slice()
    overrides, summary = setup.weights, Summary()

    def today(defense: str, attack: str) -> dict[str, str]:
        found = weights_used.weights_used(defense, attack, made.dataset, dict(overrides))
        read.update((name, sha) for name, sha in found.items() if weights_used.is_file(name))
        return found

    read: dict[str, str] = {}
    # Dealt as if all data were here, so that machines with unequal data agree on the parts.
    dealt, expected = plans.make(wanted) if part.count > 1 else (made, draft)
    units = part.of(dealt, expected.costs)
    if part.count > 1:
        draft.notes.append(part.note(dealt, units))
    mine = frozenset(units)
    tasks = pending(made, store, today, summary, setup, mine=mine, draws=wanted.draws, save=save)
    for name, _ in overrides:
        if name not in read:
            raise BenchError(
                f"--weights {name}: nothing in this run reads it{nearest(name, read)} "
                f"(read: {', '.join(sorted(read)) or 'none'})"
            )
    draft.notes += own_weights(made.dataset, sorted(read), overrides)
    weights_used.buildable(
        {task.planned.cell.defense for task in tasks}, made.dataset, dict(overrides)
    )
    if tasks:
        subset_here(made.dataset, made.subset)  # missing data is one line, before any work
    store.write_plan(made)
    return Sweep(made, draft.costs, tasks, store, summary, mine)


def own_weights(
    dataset: str, names: Sequence[str], overrides: Sequence[tuple[str, str]]
) -> list[str]:
    """A line for every weight file that is not the packaged one."""
    files = dict(overrides)
    paths = {n: Path(files[n]) if n in files else find(dataset, n).path for n in names}
    shipped = packaged(dataset)
    return [f"weights '{n}': {path}" for n, path in paths.items() if path.parent != shipped]
