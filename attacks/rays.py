"""RayS: a search by decisions alone, without scores and gradients (Chen & Gu 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from attacks.gradients import draws_of
from attacks.select import Best
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.spec import Range, Settings

WHOLE = 1.0
"""A radius from which on every pixel of a ray is 0 or 1."""
TOLERANCE = 1e-3
"""How closely a radius is searched (the authors' code)."""
BISECTIONS = 10
"""Queries of such a search at most, for which the budget may be exceeded once."""


@dataclass(frozen=True)
class RayS:
    """The ray x + radius * signs whose decision turns wrong at the least radius.

    Blocks of pixels have their signs flipped one after the other, first all of them, then halves,
    quarters and so on. A flip is kept where the image is wrong at the old radius too, and the
    radius is searched again. An image rests when its radius is inside of the ball, or after
    `queries`. After blocks of one pixel it begins again with all.

    runs: purifications per query (0: the defense's own S). Of a random defense a wrong query counts
    when `confirm` fresh queries and then `confirm` fresh deployed predictions are wrong too.
    """

    queries: int = 10_000
    runs: int = 0
    confirm: int = 4

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W]; those that are wrong already stay as they are."""
        best = Best(defense, x, y, self.confirm)
        queries = torch.full_like(y, best.select.draws)
        alive = best.alive
        if len(alive):
            rays = _Rays(self, best, x[alive], y[alive], threat.eps)
            rays.search()
            for point in rays.found():
                best.offer(threat.project(point, x[alive]), alive)
            queries[alive] += rays.asked + 2 * best.select.draws
        return Attacked(best.x, queries=queries)


class _Rays:
    """The state of a search: signs and radius of each image, and what it has asked."""

    def __init__(self, how: RayS, best: Best, x: Tensor, y: Tensor, eps: float) -> None:
        self.how, self.select, self.defense = how, best.select, best.select.defense
        self.x, self.y, self.eps = x, y, eps
        self.signs = torch.ones_like(x).flatten(1)
        self.radius = x.new_full((len(x),), torch.inf)
        self.asked = torch.zeros_like(y)
        random = self.defense.random
        self.rounds = (how.runs,) * how.confirm + (0,) * how.confirm if random else ()

    def search(self) -> None:
        """Until every image rests."""
        size = self.signs.shape[1]
        self._keep(self._standing(), self.signs)
        width = size
        while True:
            for start in range(0, size, width):
                standing = self._standing()
                if not len(standing):
                    return
                flipped = self.signs.clone()
                flipped[:, start : start + width] *= -1
                self._keep(standing, flipped)
            width = -(-width // 2) if width > 1 else size

    def found(self) -> tuple[Tensor, Tensor]:
        """Each ray at its radius, which was wrong, and as far as the ball reaches."""
        ends = torch.full_like(self.radius, self.eps)
        inside, outer = (
            self._at(slice(None), self.signs, radius) for radius in (self.radius.min(ends), ends)
        )
        return inside, outer

    def _standing(self) -> Tensor:
        """Images outside of the ball that may ask again."""
        left = self.asked < self.how.queries
        return ((self.radius > self.eps) & left).nonzero().squeeze(1)

    def _keep(self, images: Tensor, signs: Tensor) -> None:
        """Where `signs` are wrong at the radius so far, keep them with the least one."""
        high = self.radius[images].clamp_max(WHOLE)
        wrong = self._wrong(images, signs, high)
        images, high, low = images[wrong], high[wrong], torch.zeros_like(high[wrong])
        self.signs[images] = signs[images]
        while (open_ := high - low > TOLERANCE).any():
            middle = (low + high) / 2
            wrong = open_.clone()
            wrong[open_] = self._wrong(images[open_], signs, middle[open_])
            high = torch.where(wrong, middle, high)
            low = torch.where(open_ & ~wrong, middle, low)
        self.radius[images] = high

    def _wrong(self, images: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
        """Which of `images` are decided wrong on their rays at `radius`, bool like it."""
        points, labels = self._at(images, signs, radius), self.y[images]
        self.asked[images] += 1
        answer = self.defense.answer(points, runs=self.how.runs or None)
        wrong = answer.decided != labels
        if self.rounds:
            lucky = wrong.nonzero().squeeze(1)
            still, asked = self.select.wrong(points[lucky], labels[lucky], self.rounds)
            self.asked[images[lucky]] += asked
            wrong[lucky] = torch.isin(torch.arange(len(lucky), device=still.device), still)
        return wrong

    def _at(self, images: Tensor | slice, signs: Tensor, radius: Tensor) -> Tensor:
        """The points of the rays at `radius`, within [0,1]."""
        x = self.x[images]
        step = signs[images].view_as(x)
        return (x + radius.view(-1, 1, 1, 1) * step).clamp(0, 1)


def _cost(settings: Settings, traits: Traits) -> Runs:
    """At most: an image that stands to the end, and luck that is refuted on the last draw."""
    runs = int(settings["runs"]) or traits.runs
    looks, confirm = int(settings["queries"]) + BISECTIONS, int(settings["confirm"])
    return Runs(
        plain=looks * runs + 3 * draws_of(confirm, traits.random) * traits.runs,
        luck=looks * confirm * (runs + traits.runs) if traits.random else 0,
    )


@attack(
    "rays",
    source="Chen & Gu 2020: 10,000 queries",
    paper="Chen & Gu 2020",
    link="https://arxiv.org/abs/2006.12792",
    norms=("linf",),
    # Budgets of the presets are ours; runs=1 is a proxy of the deployed S-run prediction.
    settings={"quick": {"queries": 100, "runs": 1}, "standard": {"queries": 500, "runs": 1}},
    cost=_cost,
    knows="little",
)
def rays(
    *,
    queries: Annotated[int, Range(1)] = 10_000,
    runs: Annotated[int, Range(0)] = 0,
    confirm: Annotated[int, Range(1)] = 4,
) -> RayS:
    """The nearest wrong point along rays of signs, by decisions alone."""
    return RayS(queries, runs, confirm)
