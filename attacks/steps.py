"""How a search moves on from what it saw: straight, with momentum, or with APGD's step sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attacks.gradients import Slope
from bench.api.ball import ThreatModel

Turn = Callable[[Tensor, Slope], Tensor]
"""A point and what was seen there to the unit step from it."""


@dataclass(frozen=True)
class Search:
    """What a rule may know of the search it moves: the images, their ball, its length.

    step: of eps. turn: as above.
    """

    x: Tensor
    threat: ThreatModel
    steps: int
    step: float
    turn: Turn


class Moves(Protocol):
    """The moves of one restart; it remembers what it needs."""

    def __call__(self, point: Tensor, slope: Slope) -> Tensor:
        """From `point` [B,C,H,W] and what was seen there to the next point, inside the ball."""
        ...


class Rule(Protocol):
    """A rule of moving; the walk that begins has no past."""

    def begin(self, search: Search) -> Moves:
        """The walk of one restart."""
        ...


@dataclass(frozen=True)
class Straight:
    """A step of fixed length along the steepest direction (Madry et al. 2018)."""

    def begin(self, search: Search) -> Moves:
        """The same move each time."""

        def walk(point: Tensor, slope: Slope) -> Tensor:
            return along(search, point, search.turn(point, slope))

        return walk


STRAIGHT = Straight()


@dataclass(frozen=True)
class Momentum:
    """Along the decaying sum of gradients, each at l1 norm 1 (Dong et al. 2018, Algorithm 1)."""

    decay: float = 1.0

    def begin(self, search: Search) -> Moves:
        """Starts at rest."""
        speed = torch.zeros_like(search.x)

        def walk(point: Tensor, slope: Slope) -> Tensor:
            nonlocal speed
            size = slope.gradient.flatten(1).abs().sum(1).view(-1, 1, 1, 1)
            speed = self.decay * speed + slope.gradient / size.clamp_min(1e-12)
            return along(search, point, search.turn(point, slope._replace(gradient=speed)))

        return walk


@dataclass(frozen=True)
class Auto:
    """APGD's steps (Croce & Hein 2020, Algorithm 1): inertia, and halving where the loss stalls.

    Where a window of steps ends and the loss rose in too few of them, or its best has not moved
    since the last window without a halving, the step of that image is halved and it goes back to
    its best point. Loss and gradient are whatever the look gave: under EOT, means over draws.
    """

    inertia: float = 0.25
    rising: float = 0.75

    def begin(self, search: Search) -> Moves:
        """Begins with the whole step."""
        return _AutoWalk(self, search)


class _AutoWalk:
    """The state of `Auto`: best point, loss and gradient per image, and the current window."""

    def __init__(self, rule: Auto, search: Search) -> None:
        self.rule, self.search = rule, search
        # The paper's windows: .22, .06 and .03 of the steps.
        self.window = max(int(0.22 * search.steps), 1)
        self.shortest = max(int(0.06 * search.steps), 1)
        self.shorter = max(int(0.03 * search.steps), 1)
        self.step = search.x.new_full((len(search.x), 1, 1, 1), search.step)
        self.moves, self.count = 0, 0
        self.before = search.x

    def __call__(self, point: Tensor, slope: Slope) -> Tensor:
        if not self.moves:
            self._begin(point, slope)
        else:
            point, slope = self._learn(point, slope)
        search = self.search
        ahead = along(search, point, search.turn(point, slope), self.step)
        share = 1 - self.rule.inertia if self.moves else 1.0
        moved = point + share * (ahead - point) + (1 - share) * (point - self.before)
        self.before, self.moves = point, self.moves + 1
        return search.threat.project(moved, search.x)

    def _begin(self, point: Tensor, slope: Slope) -> None:
        self.best, self.loss = point.clone(), slope.loss.clone()
        self.gradient, self.checked = slope.gradient.clone(), slope.loss.clone()
        self.halved = torch.ones_like(slope.loss, dtype=torch.bool)
        self.rises = torch.zeros_like(slope.loss)
        # The authors' code compares the first loss of a step with 0, not with that of the start.
        self.last = torch.zeros_like(slope.loss)

    def _learn(self, point: Tensor, slope: Slope) -> tuple[Tensor, Slope]:
        """Where to go on from, and what was seen there."""
        better = slope.loss > self.loss
        self.best[better], self.loss[better] = point[better], slope.loss[better]
        self.gradient[better] = slope.gradient[better]
        self.rises += slope.loss > self.last
        self.last, self.count = slope.loss, self.count + 1
        if self.count < self.window:
            return point, slope
        stuck = ~self.halved & (self.checked >= self.loss)
        self.halved = (self.rises <= self.rule.rising * self.window) | stuck
        self.checked, self.rises, self.count = self.loss.clone(), torch.zeros_like(self.rises), 0
        self.window = max(self.window - self.shorter, self.shortest)
        back = self.halved.view(-1, 1, 1, 1)
        self.step = torch.where(back, self.step / 2, self.step)
        gradient = torch.where(back, self.gradient, slope.gradient)
        return torch.where(back, self.best, point), slope._replace(gradient=gradient)


def along(search: Search, point: Tensor, unit: Tensor, step: Tensor | None = None) -> Tensor:
    """`step` of eps from `point` along `unit`, back inside; else the search's own step."""
    size = search.step if step is None else step
    return search.threat.project(point + size * search.threat.eps * unit, search.x)
