"""SPSA: the gradient estimated from queries alone (Spall 1992; Uesato et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from attacks.gradients import Slope
from attacks.losses import LossName, climbed
from attacks.pgd import PGD
from bench.api import Runs, attack
from bench.api.purifier import Defense, Traits, repeat
from bench.spec import Range, Settings

# Pairs per image that go through the defense together; fixed, so that memory never moves a number.
MICRO = 16


@dataclass(frozen=True)
class Spsa:
    """Mean of v * (L(x + delta v) - L(x - delta v)) / (2 delta) over v in {-1,+1}^D.

    L: the loss of the deployed scores with `runs` purifications (0: the defense's own S; less
    is a cheaper proxy). Probes are clipped to [0,1]. Both sides have their own randomness: an
    outsider cannot fix the defense's.
    """

    loss: LossName = "margin"
    samples: int = 640
    delta: float = 0.01
    runs: int = 0

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """The estimate at x [B,C,H,W] after 2 * samples queries per image."""
        gradient, mean = torch.zeros_like(x), torch.zeros(len(x), device=x.device)
        for start in range(0, self.samples, MICRO):
            pairs = min(MICRO, self.samples - start)
            many = repeat(x, pairs)
            v = torch.randint_like(many, 2) * 2 - 1
            probes = torch.cat([many + self.delta * v, many - self.delta * v]).clamp(0, 1)
            scores = defense.scores(probes, self.runs or None)
            up, down = climbed(self.loss, scores, repeat(y, 2 * pairs)).chunk(2)
            slope = ((up - down) / (2 * self.delta)).view(-1, 1, 1, 1) * v
            gradient += slope.view(pairs, *x.shape).sum(0) / self.samples
            mean += (up + down).view(pairs, len(x)).sum(0) / (2 * self.samples)
        return Slope(gradient, mean, queries=2 * self.samples)


def _cost(settings: Settings, traits: Traits) -> Runs:
    runs = int(settings["runs"]) or traits.runs
    return Runs(plain=2 * int(settings["steps"]) * int(settings["samples"]) * runs)


@attack(
    "spsa",
    source="Uesato et al. 2018; signs and 1280 queries a step as in Yoon et al. 2021, Table 1",
    paper="Uesato et al. 2018",
    link="https://arxiv.org/abs/1802.05666",
    # Budgets of the presets are ours; runs=1 is a proxy of the deployed S-run prediction.
    settings={
        "quick": {"steps": 10, "samples": 8, "runs": 1},
        "standard": {"steps": 20, "samples": 8, "runs": 1},
    },
    cost=_cost,
    knows="little",
)
def spsa(
    *,
    steps: Annotated[int, Range(1)] = 40,
    samples: Annotated[int, Range(1)] = 640,
    delta: Annotated[float, Range(1e-6, 1)] = 0.01,
    step: Annotated[float, Range(0)] = 0.25,
    runs: Annotated[int, Range(0)] = 0,
    loss: LossName = "margin",
) -> PGD:
    """PGD along a gradient estimated from 2 * samples deployed predictions a step."""
    return PGD(Spsa(loss, samples, delta, runs), steps, step)
