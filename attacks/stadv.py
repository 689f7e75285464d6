"""Spatially transformed images (Xiao et al. 2018): pixels move, their values do not change.

A flow says for each pixel where in the image its value is read, between pixels bilinearly. Climbed
is the margin minus `tau` times the flow's roughness, both as in the paper. The rest is as in the
code that later evaluations use (Laidlaw et al. 2021): no class is aimed at, no pixel is read from
further away than `budget` along either axis, and Adam searches in place of L-BFGS, which a random
defense would mislead. Of all points seen, the one of the best such sum is handed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.apgd import Through, along, following, follows_of, knows_of, no_gradient
from attacks.family import Count
from attacks.gradients import Gradient
from bench.api import Runs, attack
from bench.api.attacked import Attacked, Trace
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.spec import Range, Settings
from bench.threat import FLOW

TINY = 1e-12
BESIDE = 0.1
"""How far from a flow its slope is taken at most, of a step."""


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x [B,C,H,W] read at its pixels' places plus flow [B,H,W,2], (across, down).

    In units in which the image reaches from -1 to 1, from the centre of its first pixel to that of
    its last; the border goes on outside.
    """
    down, across = (torch.linspace(-1, 1, side).to(x) for side in x.shape[2:])
    still = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)
    return F.grid_sample(x, still + flow, "bilinear", "border", align_corners=True)


def roughness(flow: Tensor) -> Tensor:
    """How much flow [B,H,W,2] differs between neighbours, [B] (Xiao et al. 2018).

    The sum over all pixels and their four neighbours of the length of the difference, in the units
    of the flow, as Laidlaw et al. take it; in pixels `tau` would mean more on larger images.
    """
    gaps = (flow.diff(dim=1), flow.diff(dim=2))
    # The root has no slope at 0, where every search begins.
    lengths = [(gap.square().sum(-1) + TINY).sqrt().flatten(1).sum(1) for gap in gaps]
    return 2 * (lengths[0] + lengths[1])


@dataclass(frozen=True)
class StAdv:
    """`steps` of Adam on a flow that begins at 0; `rate` is of the budget."""

    gradient: Gradient
    steps: int = 100
    rate: float = 0.2
    tau: float = 0.05

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images x [B,C,H,W] moved by flows within `threat` (its eps), with what was climbed."""
        flow = x.new_zeros(len(x), *x.shape[2:], 2)
        adam = torch.optim.Adam([flow], lr=self.rate * threat.eps)
        best, highest = x.clone(), x.new_full((len(x),), -torch.inf)
        losses, norms = [], []
        for step in range(self.steps + 1):
            point = warp(x, flow).clamp(0, 1)
            slope = self.gradient(defense, point, y)
            rough, climb = self._climb(x, flow, slope.gradient, self.rate * threat.eps)
            reached = slope.loss - self.tau * rough
            higher = reached > highest
            best[higher], highest[higher] = point[higher], reached[higher]
            losses.append(slope.loss)
            norms.append(slope.gradient.flatten(1).norm(dim=1))
            if step < self.steps:
                flow.grad = -climb
                adam.step()
                flow.clamp_(-threat.eps, threat.eps)
        return Attacked(best, trace=Trace(torch.stack(losses), torch.stack(norms)))

    def _climb(
        self, x: Tensor, flow: Tensor, gradient: Tensor, reach: float
    ) -> tuple[Tensor, Tensor]:
        """The flow's roughness [B], and where the sum climbs, like flow; reach: of a step."""
        moving = flow.clone().requires_grad_()
        # At the centre of a pixel, where every search begins, bilinear reading has two slopes.
        aside = BESIDE * reach * (2 * torch.rand_like(flow) - 1)
        with torch.enable_grad():
            rough = roughness(moving)
            total = (warp(x, moving + aside) * gradient).sum() - self.tau * rough.sum()
            (climb,) = torch.autograd.grad(total, moving)
        return rough.detach(), climb


def _runs(settings: Settings, traits: Traits) -> Runs:
    """One look at each point, the first and the last included."""
    return following(int(settings["steps"]) + 1, settings, traits)


@attack(
    "stadv",
    source="Xiao et al. 2018; budget, tau and Adam: Laidlaw et al. 2021",
    paper="Xiao et al. 2018",
    link="https://arxiv.org/abs/1801.02612",
    settings={"quick": {"steps": 10, "eot": 5}, "standard": {"eot": 5}},
    skip=no_gradient,
    cost=_runs,
    threat=lambda settings, ball: f"{FLOW}:{settings['budget']}",
    knows=knows_of,
    follows=follows_of,
    aside="pixels move and keep their values, within a budget of its own and no ball",
)
def stadv(
    *,
    steps: Count = 100,
    budget: Annotated[float, Range(0, 2)] = 0.05,
    tau: Annotated[float, Range(0)] = 0.05,
    rate: Annotated[float, Range(0)] = 0.2,
    eot: Count = 20,
    gradient: Through = "bpda",
) -> StAdv:
    """Moves pixels by a smooth flow; a threat of its own, outside any ball.

    budget: the farthest move along an axis, where the image reaches from -1 to 1.
    """
    return StAdv(along(gradient, "margin", eot), steps, rate, tau)
