"""LF: filters that are searched for, in place of pixels (after DiffBreak, Kassis et al. 2025).

A purifier takes small noise away; a change of low frequencies it leaves where it is. Every pixel
becomes a mean of its neighbours, weighted by a kernel of its own, which is what is searched for,
and by how alike the neighbour's colour is, so that edges stay. How far the image may change is
measured by structural similarity, where the authors have LPIPS and its network's weights; their
additive part is left out.
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
from bench.api.ssim import ssim
from bench.errors import BenchError
from bench.spec import Range, Settings
from bench.threat import SSIM

STILL = 8.0
"""By how much, in logits, a kernel's centre outweighs each neighbour where the search begins."""


@dataclass(frozen=True)
class Filters:
    """What `weights` make of images: a chain of filters of `size` x `size` pixels.

    colour: how far apart, in [0,1], two pixels may be to be averaged.
    """

    size: int
    colour: float

    def begin(self, x: Tensor, count: int) -> Tensor:
        """Weights of `count` filters that leave the images x as they are, nearly."""
        weights = x.new_zeros(count, len(x), self.size**2, *x.shape[2:])
        weights[:, :, self.size**2 // 2] = STILL
        return weights

    def likeness(self, x: Tensor) -> Tensor:
        """How much each pixel's colour is that of its neighbours, [B,size^2,H,W] in [0,1]."""
        gaps = self._around(x) - x[:, :, None]
        return (-gaps.square().sum(1) / (2 * self.colour**2)).exp()

    def __call__(self, x: Tensor, weights: Tensor, likeness: Tensor) -> Tensor:
        """Images x [B,C,H,W] through every filter in turn."""
        for each in weights:
            shares = each.softmax(1) * likeness
            x = (self._around(x) * shares[:, None]).sum(2) / shares.sum(1, keepdim=True)
        return x

    def _around(self, x: Tensor) -> Tensor:
        """Each pixel's neighbours, [B,C,size^2,H,W]; the border goes on outside."""
        wide = F.pad(x, [self.size // 2] * 4, "replicate")
        return F.unfold(wide, self.size).view(*x.shape[:2], -1, *x.shape[2:])


@dataclass(frozen=True)
class LowFrequency:
    """`steps` of Adam on the kernels of `count` filters.

    An image inside its budget climbs the loss; one outside goes back towards similarity. The point
    inside with the highest loss is handed over.
    """

    gradient: Gradient
    filters: Filters
    count: int = 2
    steps: int = 100
    rate: float = 0.1

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Filtered images x [B,C,H,W] within `threat` (its eps), with what was climbed."""
        weights, likeness = self.filters.begin(x, self.count), self.filters.likeness(x)
        adam = torch.optim.Adam([weights], lr=self.rate)
        best, highest = x.clone(), x.new_full((len(x),), -torch.inf)
        losses, norms = [], []
        for step in range(self.steps + 1):
            point = self.filters(x, weights, likeness).clamp(0, 1)
            slope = self.gradient(defense, point, y)
            higher = (slope.loss > highest) & threat.contains(point, x)
            best[higher], highest[higher] = point[higher], slope.loss[higher]
            losses.append(slope.loss)
            norms.append(slope.gradient.flatten(1).norm(dim=1))
            if step < self.steps:
                weights.grad = -self._climb(x, weights, likeness, slope.gradient, threat)
                adam.step()
        return Attacked(best, trace=Trace(torch.stack(losses), torch.stack(norms)))

    def _climb(
        self, x: Tensor, weights: Tensor, likeness: Tensor, gradient: Tensor, threat: ThreatModel
    ) -> Tensor:
        """Where the weights go, like them: up the loss, or back; each image at length 1."""
        moving = weights.clone().requires_grad_()
        with torch.enable_grad():
            point = self.filters(x, moving, likeness)
            inside = threat.contains(point.detach().clamp(0, 1), x)
            rising = torch.where(inside, (point * gradient).flatten(1).sum(1), ssim(point, x))
            (climb,) = torch.autograd.grad(rising.sum(), moving)
        length = climb.transpose(0, 1).flatten(1).norm(dim=1).clamp_min(1e-12)
        unit: Tensor = climb / length.view(1, -1, 1, 1, 1)
        return unit


def _runs(settings: Settings, traits: Traits) -> Runs:
    """One look at each point, the first and the last included."""
    return following(int(settings["steps"]) + 1, settings, traits)


def _centred(settings: Settings, dataset: str) -> None:
    """A filter of an even size has no middle pixel."""
    if int(settings["size"]) % 2 == 0:
        raise BenchError(f"size={settings['size']} is even: a filter has a pixel in its middle")


@attack(
    "lf",
    source="after DiffBreak: filters of 5 x 5 pixels, colours within .1; budget, steps ours",
    paper="Kassis et al. 2025",
    link="https://arxiv.org/abs/2411.16598",
    settings={"quick": {"steps": 10, "eot": 5}, "standard": {"eot": 5}},
    skip=no_gradient,
    fits=_centred,
    cost=_runs,
    threat=lambda settings, ball: f"{SSIM}:{settings['budget']}",
    knows=knows_of,
    follows=follows_of,
    aside="pixels are averaged with their neighbours, within a budget of similarity and no ball",
)
def lf(
    *,
    steps: Count = 100,
    budget: Annotated[float, Range(0, 1)] = 0.05,
    size: Annotated[int, Range(3)] = 5,
    filters: Count = 2,
    colour: Annotated[float, Range(1e-3)] = 0.1,
    rate: Annotated[float, Range(0)] = 0.1,
    eot: Count = 20,
    gradient: Through = "exact",
) -> LowFrequency:
    """Blurs each pixel as it serves the attacker; a threat of its own, outside any ball.

    budget: of 1 - SSIM. size: of a filter, an odd number of pixels.
    """
    return LowFrequency(along(gradient, "margin", eot), Filters(size, colour), filters, steps, rate)
