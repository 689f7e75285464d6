"""The auxiliary-aware attack: break the classifier and look clean to the purifier at once.

Shi et al. 2021 and Hwang et al. 2021, Eq. 2: climb (1 - lambda) L_C - lambda L_D, where L_D is what
the purifier lowers. A purifier's `direction` is the gradient of -L_D: of the log-probability of
being clean that AID-Purifier's discriminator gives, of ADP's log-density, of a negative energy.

Hwang et al. show the values of lambda in a figure only. Their code climbs L_C - lambda L_D, which
is the same attack at lambda / (1 + lambda).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attacks.family import At, Count, Step, blind_runs, bpda_runs, looking, looks, no_direction
from attacks.gradients import Gradient, Score, Slope, draws_of
from attacks.losses import LossName
from attacks.pgd import PGD
from attacks.select import Best
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.errors import BenchError
from bench.spec import Settings, number

Scale = Literal["loss", "unit"]
TENTHS = "+".join(f"{tenth / 10:g}" for tenth in range(10))
SETTINGS: Mapping[str, Settings] = {
    "quick": {"steps": 10, "step": 0.25, "eot": 5, "lambdas": "0+0.5"},
    "standard": {"eot": 5, "lambdas": "0+0.25+0.5+0.75"},
    # The authors' PGD: steps of 2/255 at 12/255, elsewhere of 1/255 at 8/255.
    "svhn": {"step": 1 / 6},
}


@dataclass(frozen=True)
class Joint:
    """(1 - weight) times a gradient plus `weight` times the purifier's direction, no sign taken.

    scale: `loss` takes both as they are, the gradient of the joint loss; `unit` brings each to l2
    norm 1 per image first. A sure classifier's cross-entropy has next to no gradient, so that
    `loss` follows the purifier alone at any weight. The loss reported is the classifier's.
    """

    gradient: Gradient
    weight: float
    scale: Scale = "loss"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """The gradient's look and, unless its weight is 0, one direction."""
        slope = self.gradient(defense, x, y)
        if not self.weight:
            return slope
        climb, pull = slope.gradient, Score()(defense, x, slope)
        if self.scale == "unit":
            climb, pull = _unit(climb), _unit(pull)
        return slope._replace(gradient=(1 - self.weight) * climb + self.weight * pull)


@dataclass(frozen=True)
class Grid:
    """Several searches; per image the point that fresh draws get right least often.

    The image itself is one of the points. The trace is the first search's.
    """

    searches: tuple[PGD, ...]
    select: int = PGD.select

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the ball around x [B,C,H,W]."""
        best = Best(defense, x, y, self.select)
        everyone = torch.arange(len(x), device=x.device)
        traces = []
        for search in self.searches:
            found = search(defense, x, y, threat)
            traces.append(found.trace)
            best.offer(found.x_adv, everyone)
        return Attacked(best.x, trace=traces[0])


def parse_lambdas(text: str) -> tuple[float, ...]:
    """Weights in [0,1] joined by `+`, such as `0+0.25+0.5`.

    Raises:
        BenchError: not such numbers, or one twice.
    """
    try:
        found = tuple(number(word) for word in str(text).split("+"))
    except (ValueError, ZeroDivisionError):
        found = ()
    if not found or not all(0 <= weight <= 1 for weight in found):
        raise BenchError(
            f"auxiliary: lambdas={text} are not numbers from 0 to 1 joined by + (such as 0+0.5)"
        )
    if len(set(found)) < len(found):
        raise BenchError(f"auxiliary: lambdas={text} names one twice")
    return found


def _unit(move: Tensor) -> Tensor:
    norms: Tensor = move.flatten(1).norm(dim=1).clamp_min(1e-12)
    return move / norms.view(-1, 1, 1, 1)


def _runs(settings: Settings, traits: Traits) -> Runs:
    """The searches, a direction for each look of those that follow one, and the choice."""
    weights = parse_lambdas(str(settings["lambdas"]))
    one = (bpda_runs if settings["at"] == "purified" else blind_runs)(settings, traits)
    return replace(
        one,
        plain=(1 + len(weights)) * draws_of(PGD.select, traits.random) * traits.runs,
        bpda=one.bpda * len(weights),
        blind=one.blind * len(weights),
        direction=looks(settings) * sum(weight > 0 for weight in weights),
    )


def _readable(settings: Settings, dataset: str) -> None:
    del dataset
    parse_lambdas(str(settings["lambdas"]))


@attack(
    "auxiliary",
    source="Hwang et al. 2021, Eq. 2 and Figure 4, after Shi et al. 2021",
    paper="Hwang et al. 2021",
    link="https://arxiv.org/abs/2107.06456",
    settings=SETTINGS,
    skip=no_direction,
    cost=_runs,
    fits=_readable,
    knows="all",
)
def auxiliary(
    *,
    steps: Count = 40,
    eot: Count = 15,
    step: Step = 0.125,
    random_start: bool = True,
    lambdas: str = TENTHS,
    at: At = "purified",
    scale: Scale = "unit",
    loss: LossName = "ce",
) -> Grid:
    """PGD on the classifier's loss and the purifier's own objective, over a grid of weights.

    at: the classifier's loss at the purified image (BPDA, EOT), or at x. As the paper prints it, at
    one of its weights: `at=x,scale=loss,lambdas=0.5`.
    """
    follow = looking(at, loss, eot)
    return Grid(
        tuple(
            PGD(Joint(follow, weight, scale=scale), steps, step, random_start)
            for weight in parse_lambdas(lambdas)
        )
    )
