"""The only gradient loop: projected gradient ascent with replaceable parts (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.gradients import Direction, Gradient, Slope, followed
from attacks.keep import Keep, Keeper, Verify, keeper
from attacks.steps import STRAIGHT, Rule, Search
from attacks.targets import Targets
from bench.api.attacked import Attack, Attacked, Trace
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense


class Start(Protocol):
    """Where a restart begins, beside the image itself and a random point."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """A point in the ball around each of x [B,C,H,W]; no random number of the caller moves."""
        ...


@dataclass(frozen=True)
class PGD:
    """`steps` steps of `step` * eps along the steepest direction of `gradient`, as `rule` says.

    direction, weight: move along (1 - weight) * steepest(gradient) + weight * steepest(direction)
    (Yoon et al. 2021, Table 1). keep: which point is handed over; where fresh draws choose (always
    between restarts) there are `select` of them. targets: restart i aims at the i-th of these
    wrong classes of the image. start: where one more restart begins, the last. The trace is the
    first restart's.
    """

    gradient: Gradient
    steps: int = 40
    step: float = 0.25
    random_start: bool = False
    restarts: int = 1
    keep: Keep | Verify = "last"
    direction: Direction | None = None
    weight: float = 0.5
    select: int = 4
    targets: Targets | None = None
    rule: Rule = STRAIGHT
    start: Start | None = None

    @property
    def begun(self) -> int:
        """How often it begins."""
        return self.restarts + (self.start is not None)

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W] in [0,1] that climb the loss at labels y [B]."""
        kept = keeper(self.keep, defense, x, y, restarts=self.begun, draws=self.select)
        trace, queries = self.climb(kept, defense, x, y, threat)
        return Attacked(
            kept.x,
            trace=trace,
            protocol=kept.protocol,
            queries=torch.full_like(y, queries) if queries else None,
        )

    @torch.no_grad()
    def climb(
        self, kept: Keeper, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel
    ) -> tuple[Trace, int]:
        """Every restart, in front of a keeper; gives the trace and the queries per image."""
        search = Search(x, threat, self.steps, self.step, partial(self._turn, defense, threat))
        aims = self.targets(defense, x, y) if self.targets else None
        queries, slopes = 0, []
        for restart in range(self.begun):
            if self.start is not None and restart == self.restarts:
                point = self.start(defense, x, y, threat)
            else:
                point = threat.random_start(x) if self.random_start else x.clone()
            walk, goal = self.rule.begin(search), y if aims is None else aims[restart % len(aims)]
            for step in range(self.steps + kept.looks_at_the_end):
                slope = self.gradient(defense, point, goal)
                queries += slope.queries
                if restart == 0:
                    slopes.append(_seen(slope))
                kept.saw(point, slope)
                if kept.over or step == self.steps:
                    break
                point = walk(point, slope)
                kept.came(point)
            kept.end(point)
        losses, norms, cosines, spreads = zip(*slopes, strict=True)
        compared = torch.stack(cosines) if cosines[0] is not None else None
        apart = torch.stack(spreads) if spreads[0] is not None else None
        return Trace(torch.stack(losses), torch.stack(norms), compared, apart), queries

    def _turn(self, defense: Defense, threat: ThreatModel, point: Tensor, slope: Slope) -> Tensor:
        """The unit step at a point, like x."""
        move = threat.steepest(slope.gradient)
        if self.direction is None:
            return move
        pull = threat.steepest(self.direction(defense, point, slope))
        return (1 - self.weight) * move + self.weight * pull


def _seen(slope: Slope) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What a trace keeps of a look, [B] each: loss, gradient's norm, its cosine with BPDA's.

    Last, as rows, how far its draws differ.
    """
    flat = slope.gradient.flatten(1)
    cosine = None if slope.passed is None else F.cosine_similarity(flat, slope.passed.flatten(1))
    apart = None if slope.spread is None else torch.stack(slope.spread)
    return slope.loss, flat.norm(dim=1), cosine, apart


@dataclass(frozen=True)
class Strongest:
    """Several searches as one: each restart hands over its point of the highest loss.

    Between those points and the image itself, `select` fresh draws choose. The trace is the first
    search's. What `searches` say of keeping is not asked.
    """

    searches: tuple[PGD, ...]
    select: int = 4

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W], as `PGD`."""
        begun = sum(search.begun for search in self.searches)
        kept = keeper("loss", defense, x, y, restarts=1 + begun, draws=self.select)
        trace, queries = self.climb(kept, defense, x, y, threat)
        return Attacked(
            kept.x, trace=trace, queries=torch.full_like(y, queries) if queries else None
        )

    @torch.no_grad()
    def climb(
        self, kept: Keeper, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel
    ) -> tuple[Trace, int]:
        """Every search, in front of a keeper, as of `PGD`."""
        found = [search.climb(kept, defense, x, y, threat) for search in self.searches]
        return found[0][0], sum(asked for _, asked in found)


@dataclass(frozen=True)
class Followed:
    """A search along exact gradients that says through what it followed them."""

    search: Attack

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W], as the search gives them."""
        return replace(self.search(defense, x, y, threat), gradient=followed(defense))
