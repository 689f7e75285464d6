"""The equality gate: reduced precision only for a defense whose verdicts stay as they are.

On every image of the plan, with the same random numbers, two verdicts are taken in float32 and in
the reduced precision: on the image, and on what a short attack in that same precision makes of it.
At most one verdict in 512 may differ; else, or when the reduced precision fails, float32 is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.family import Clean
from attacks.gradients import Bpda, Exact
from attacks.pgd import PGD
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute.names import Precision
from bench.compute.network import computing
from bench.measure import build
from bench.measure.judge import evaluate
from bench.measure.shard import Shard, images_of
from bench.measure.worker import Failure, Setup, Task, context_of, tried, within_memory
from bench.results.store import Plan

STEPS = 5
"""Of the short attack, a quarter of eps each: exact where the defense is, else BPDA."""
ALLOWED = 512
"""Of so many verdicts one may differ."""


@dataclass(frozen=True)
class Trial:
    """One shard of a defense, both ways; `task` is any of that shard, in the reduced precision."""

    task: Task
    threat: str


@dataclass(frozen=True)
class Compared:
    """How many of the verdicts on a shard differ."""

    task: Task
    verdicts: int
    differ: int


@dataclass(frozen=True)
class Decision:
    """What a defense is measured in, and why."""

    precision: Precision
    reason: str

    def applied(self, setup: Setup) -> Setup:
        """`setup` with what was decided."""
        return replace(setup, precision=self.precision, gate=self.reason)


def trials(tasks: Sequence[Task], plan: Plan) -> list[Trial]:
    """Every image of the plan, for every defense that has something left to measure."""
    some = {task.planned.cell.defense: task for task in reversed(tasks)}
    return [
        Trial(replace(task, shard=shard), plan.threat)
        for task in some.values()
        for shard in range(plan.shards)
    ]


def compare(trial: Trial) -> Compared | Failure:
    """Both verdicts of each image of a shard, in float32 and in the reduced precision."""
    return tried(trial.task, lambda: _compare(trial))


def lost(trial: Trial, reason: str) -> Failure:
    """For a shard whose workers were lost: without its verdicts the gate stays shut."""
    return Failure(trial.task, reason)


def _compare(trial: Trial) -> Compared:
    task = trial.task
    cell, setup = task.planned.cell, task.setup

    def both() -> tuple[Tensor, Tensor]:
        context = context_of(cell, setup)
        defense, shard = build.defense(cell.defense, context), images_of(cell, task.shard, context)
        threat = ThreatModel.parse(trial.threat)
        key = f"gate/{cell.dataset}/{cell.subset}/{cell.defense}/{task.shard}"
        plain, reduced = (
            verdicts(defense, shard, threat, key, precision=precision)
            for precision in ("float32", setup.precision)
        )
        return plain, reduced

    plain, reduced = within_memory(setup, cell.defense, both)
    return Compared(task, plain.numel(), int((plain != reduced).sum()))


def verdicts(
    defense: Defense, shard: Shard, threat: ThreatModel, key: str, *, precision: Precision
) -> Tensor:
    """Whether the defense is right, bool [2,B]: on the images, and after the short attack."""
    short = PGD(Exact() if defense.exact else Bpda(), STEPS)
    attacks: tuple[Attack, ...] = (Clean(), short)
    with computing(precision):
        found = [evaluate(defense, attack, shard.x, shard.y, threat, key=key) for attack in attacks]
    return torch.cat([outcome.correct[0] for outcome in found])


def decide(asked: Precision, results: Iterable[Compared | Failure]) -> dict[str, Decision]:
    """For each defense `asked`, or float32 where too many verdicts differ or a shard failed."""
    found: dict[str, list[Compared | Failure]] = {}
    for result in results:
        found.setdefault(result.task.planned.cell.defense, []).append(result)
    return {defense: _decided(asked, shards) for defense, shards in found.items()}


def _decided(asked: Precision, shards: Sequence[Compared | Failure]) -> Decision:
    failed = next((shard for shard in shards if isinstance(shard, Failure)), None)
    if failed:
        return Decision("float32", f"{asked} failed ({failed.reason}): float32")
    compared = [shard for shard in shards if isinstance(shard, Compared)]
    differ, total = sum(s.differ for s in compared), sum(s.verdicts for s in compared)
    said = f"{differ} of {total} verdicts of {asked} differ from float32"
    if differ * ALLOWED > total:
        return Decision("float32", f"{said}, more than 1 in {ALLOWED}: float32")
    return Decision(asked, f"{said}: {asked}")
