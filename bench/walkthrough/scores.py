"""Norms of the score at natural, attacked and purified images."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.api.purifier import Defense
from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.report.figures.data import Bars, Histograms
from bench.walkthrough.walk import (
    Say,
    Scene,
    Walk,
    Wanted,
    all_walks,
    conditions,
    counted,
    scenes,
    with_clean,
)


@runtime_checkable
class HasScore(Protocol):
    """A purifier with a score network."""

    def score_norm(self, x: Tensor) -> Tensor:
        """The l2 norm of the score at images [B,C,H,W], [B,1,1,1]."""
        ...


def score_norms(wanted: Wanted, images: int, after: int, setup: Setup, say: Say) -> Histograms:
    """Norms of the score at natural, attacked and purified images, a panel for each attack.

    after: how many steps purify; 0 for all of them.
    """
    if len(wanted.defenses) != 1:
        raise BenchError("score norms are of one defense at a time")
    if after < 0:
        raise BenchError(f"--after {after}: steps are counted from 1; 0 is all of them")
    found = scenes(with_clean(wanted))
    clean, attacks = found[0], found[1:]
    count = counted(wanted, images)

    def norms(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parts = [_norms(each, after) for each in all_walks(scene, count, setup, wanted, say)]
        first, second = (np.concatenate(side)[:count] for side in zip(*parts, strict=True))
        return first, second

    natural, cleaned = norms(clean)
    panels = []
    for scene in attacks:
        attacked, purified = norms(scene)
        bars = (
            Bars("natural", natural),
            Bars("attacked", attacked, attacked=True),
            Bars("natural, purified", cleaned, purified=True),
            Bars("attacked, purified", purified, attacked=True, purified=True),
        )
        panels.append((scene.attack, bars))
    steps = f"after {after} of the steps, added noise included" if after else "by one whole run"
    said = (
        f"{clean.defense} on {conditions(wanted, *found)}, n = {count} images. Purified: {steps}."
    )
    return Histograms(tuple(panels), "norm of the score (l2)", said)


def _norms(done: Walk, after: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The norms at the points of a walk and at their purified versions, each [B]."""
    score = _with_score(done.defense)
    steps = len(done.states)
    if after > steps:
        raise BenchError(f"--after {after}: this defense takes {steps} steps, added noise included")
    end = done.states[after - 1] if steps else done.points
    found = (score.score_norm(x).flatten().double().cpu().numpy() for x in (done.points, end))
    first, second = found
    return first, second


def _with_score(defense: Defense) -> HasScore:
    for part in defense.purifiers:
        if isinstance(part, HasScore):
            return part
    names = ", ".join(type(part).__name__ for part in defense.purifiers)
    raise BenchError(f"no part of the defense ({names}) has a score network; adp has one")
