"""Attacks that look for the nearest wrong point: DeepFool and Carlini & Wagner, with EOT.

Within a threat model their point is projected onto the ball (as Foolbox does at a given eps, and
the authors of AID-Purifier with it, at `deepfool:steps=20` and `cw:steps=20,searches=1,c=0.01`):
where the nearest wrong point that was found lies outside, the projection is mostly still right. The
judge's fresh draws decide, as for every attack.

Our own, because torchattacks' forms do not fit here: its C&W stops a whole batch by its summed
cost, never moves a pixel that is exactly 0 or 1, and does not search for c; its DeepFool asks image
by image for the gradient of every class. Neither can average over a defense's randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from attacks.apgd import Through, along, following, follows_of, knows_of, no_gradient
from attacks.family import Count, Step
from attacks.gradients import Gradient, Slope, classifier_slope, draws_of, mean_logits, voted
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits, repeat
from bench.spec import Later, Range, Settings

TINY = 1e-12
BEYOND = 1e-4
"""Of a gap of logits, on top of each step (Foolbox): ways that end on the boundary cross it."""
INSIDE = 1 - 1e-6
"""How much of (-1, 1) images take up before the hyperbolic tangent is inverted (C&W's code)."""
GROWTH = 10.0
"""Of c, while no wrong point was found (C&W's code)."""


@dataclass(frozen=True)
class DeepFool:
    """Steps to the nearest of the linearised boundaries (Moosavi-Dezfooli et al. 2016, Alg. 2).

    candidates: only so many of the likeliest wrong classes count, as in the authors' code. Logits
    and gradients are means over `eot` draws, backward as in BPDA. Within linf the nearest boundary
    is measured in that norm (their section 3.3). overshoot: how far beyond the boundary, of the
    whole way. blind: the boundaries are the bare classifier's, which is asked once a look.
    """

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10
    eot: int = 15
    blind: bool = False

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The nearest wrong points found for images x [B,C,H,W], projected onto the ball."""
        if self.blind:
            return replace(self, eot=1, blind=False)(Defense(defense.classifier), x, y, threat)
        goals, way = self._goals(defense, x, y), torch.zeros_like(x)
        point, standing = x.clone(), torch.arange(len(x), device=x.device)
        for _ in range(self.steps):
            gaps, slopes, decided = self._gaps(defense, point[standing], goals[:, standing])
            right = decided == y[standing]
            standing, gaps, slopes = standing[right], gaps[:, right], slopes[:, right]
            if not len(standing):
                break
            way[standing] += _nearest(threat, gaps, slopes)
            there = x[standing] + (1 + self.overshoot) * way[standing]
            point[standing] = there.clamp(0, 1)
        return Attacked(threat.project(point, x))

    def _goals(self, defense: Defense, x: Tensor, y: Tensor) -> Tensor:
        """The right class and a wrong one, [candidates,B,2], by the mean logits at x."""
        logits = mean_logits(defense, x, draws_of(self.eot, defense.random))
        count = min(self.candidates, logits.shape[1] - 1)
        wrong = logits.scatter(1, y[:, None], -torch.inf).topk(count, dim=1).indices.T
        return torch.stack([y.expand_as(wrong), wrong], 2)

    def _gaps(self, defense: Defense, x: Tensor, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Wrong logits minus right ones, [candidates,B], their gradients, [candidates,*x].

        And what the draws decide, [B].
        """
        draws = draws_of(self.eot, defense.random)
        z = defense.purify(repeat(x, draws))
        gaps, slopes = [], []
        for goal in goals:
            slope, gap, logits = classifier_slope(defense, z, repeat(goal, draws), "gap")
            gaps.append(gap.view(draws, len(x)).mean(0))
            slopes.append(slope.view(draws, *x.shape).mean(0))
        return torch.stack(gaps), torch.stack(slopes), voted(defense, logits, draws)


def _nearest(threat: ThreatModel, gaps: Tensor, slopes: Tensor) -> Tensor:
    """The shortest step in the threat's norm that closes one linearised gap, [B,C,H,W].

    Within l1, in l2: a step of few pixels would end at the border of their range.
    """
    threat = replace(threat, norm="l2") if threat.norm == "l1" else threat
    flat = slopes.flatten(2)
    dual = flat.abs().sum(2) if threat.norm == "linf" else flat.norm(dim=2)
    distance = (gaps.abs() + BEYOND) / dual.clamp_min(TINY)
    closest = distance.argmin(0)
    image = torch.arange(len(closest), device=closest.device)
    step = threat.steepest(slopes[closest, image])
    return distance[closest, image].view(-1, 1, 1, 1) * step


@dataclass(frozen=True)
class CarliniWagner:
    """Least |x' - x|^2 + c f(x') over x' = (tanh w + 1) / 2, by Adam (Carlini & Wagner 2017).

    f is the right logit minus the best wrong one, at least -confidence; under EOT a mean. c is
    searched per image: halfway between the largest that failed and the smallest that did not.
    """

    gradient: Gradient
    steps: int = 1000
    searches: int = 9
    c: float = 1e-3
    rate: float = 0.01
    confidence: float = 0.0

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The nearest wrong points found for images x [B,C,H,W], projected onto the ball.

        An image that was never wrong stays as it is.
        """
        best, nearest = x.clone(), x.new_full((len(x),), torch.inf)
        c, low, high = x.new_full((len(x),), self.c), x.new_zeros(len(x)), nearest.clone()
        for _ in range(self.searches):
            found, distance = self._search(defense, x, y, c)
            closer, broken = distance < nearest, distance < torch.inf
            best[closer], nearest[closer] = found[closer], distance[closer]
            high, low = torch.where(broken, c, high), torch.where(broken, low, c)
            c = torch.where(high < torch.inf, (low + high) / 2, GROWTH * c)
        return Attacked(threat.project(best, x))

    def _search(self, defense: Defense, x: Tensor, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest point that was wrong, and its squared distance [B]: inf without any."""
        w = torch.atanh((2 * x - 1) * INSIDE)
        adam = torch.optim.Adam([w], lr=self.rate)
        best, nearest = x.clone(), x.new_full((len(x),), torch.inf)
        for _ in range(self.steps):
            point = (torch.tanh(w) + 1) / 2
            slope = self.gradient(defense, point, y)
            distance = (point - x).flatten(1).square().sum(1)
            broken = self._broken(slope, y)
            closer = broken & (distance < nearest)
            best[closer], nearest[closer] = point[closer], distance[closer]
            pull = (c * ~broken).view(-1, 1, 1, 1) * slope.gradient
            w.grad = (2 * (point - x) - pull) * 2 * point * (1 - point)
            adam.step()
        return best, nearest

    def _broken(self, slope: Slope, y: Tensor) -> Tensor:
        """Where the draws decide wrong, with the confidence asked for; a blind look sees no more
        than the classifier's loss.
        """
        sure = slope.loss > self.confidence
        if slope.decided is None:
            return sure
        wrong = slope.decided != y
        return wrong & sure if self.confidence else wrong


def _deepfool_runs(settings: Settings, traits: Traits) -> Runs:
    """At most: an image that has fallen is asked no more, and there may be fewer classes."""
    if settings["gradient"] == "blind":
        return Runs(classified=1, blind=int(settings["steps"]) * int(settings["candidates"]))
    draws = draws_of(int(settings["eot"]), traits.random)
    looks = int(settings["steps"]) * draws
    return Runs(plain=draws, purified=looks, blind=looks * int(settings["candidates"]))


def _cw_runs(settings: Settings, traits: Traits) -> Runs:
    return following(int(settings["steps"]) * int(settings["searches"]), settings, traits)


@attack(
    "deepfool",
    norms=("linf", "l2"),
    source="Moosavi-Dezfooli et al. 2016: 50 steps, overshoot .02, 10 classes",
    paper="Moosavi-Dezfooli et al. 2016",
    link="https://arxiv.org/abs/1511.04599",
    settings={"quick": {"steps": 5, "candidates": 3, "eot": 5}, "standard": {"eot": 5}},
    cost=_deepfool_runs,
    knows=knows_of,
    follows=follows_of,
)
def deepfool(
    *,
    steps: Count = 50,
    overshoot: Step = 0.02,
    candidates: Count = 10,
    eot: Count = 15,
    gradient: Annotated[Literal["blind", "bpda"], Later()] = "bpda",
) -> DeepFool:
    """The nearest linearised boundary, step by step, in the norm of the threat.

    gradient=blind: the boundaries of the bare classifier, whatever stands in front of it.
    """
    return DeepFool(steps, overshoot, candidates, eot, gradient == "blind")


@attack(
    "cw",
    source="Carlini & Wagner 2017, l2: 9 searches of 1000 steps, rate .01, c from .001",
    paper="Carlini & Wagner 2017",
    link="https://arxiv.org/abs/1608.04644",
    norms=("l2",),
    settings={
        "quick": {"steps": 10, "searches": 2, "c": 1.0, "eot": 5},
        "standard": {"steps": 50, "searches": 5, "c": 0.1, "eot": 5},
    },
    skip=no_gradient,
    cost=_cw_runs,
    knows=knows_of,
    follows=follows_of,
)
def cw(
    *,
    steps: Count = 1000,
    searches: Count = 9,
    c: Annotated[float, Range(0)] = 1e-3,
    rate: Annotated[float, Range(0)] = 0.01,
    confidence: Annotated[float, Range(0)] = 0.0,
    eot: Count = 15,
    gradient: Through = "bpda",
) -> CarliniWagner:
    """The nearest point of a wrong class in l2; in linf its loss is apgd:loss=margin."""
    return CarliniWagner(along(gradient, "margin", eot), steps, searches, c, rate, confidence)
