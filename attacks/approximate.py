"""BPDA's variants: other approximations of the gradient through a purifier than the identity.

They are what papers evaluated purification by. Where the purifier has an exact gradient,
`pgd-exact` is the attack to quote, and these say how far an approximation falls short of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks.family import SHORT_EOT, Count, Step, bpda_runs, drawn, no_purifier, no_surrogate
from attacks.gradients import Bpda, BpdaSurrogate, Eot, Exact, Slope
from attacks.losses import LossName
from attacks.pgd import PGD
from attacks.steps import Moves, Search, along
from bench.api import Runs, attack
from bench.api.purifier import Traits
from bench.spec import Settings


@dataclass(frozen=True)
class FromPurified:
    """Each step is taken from the purified image, the mean over the draws, not from the point."""

    def begin(self, search: Search) -> Moves:
        """The same move each time."""

        def walk(point: Tensor, slope: Slope) -> Tensor:
            purified = point if slope.moved is None else point + slope.moved
            return along(search, purified, search.turn(point, slope))

        return walk


def no_step(settings: Settings, traits: Traits) -> str | None:
    """Only a purifier that walks has a first step."""
    missing = None if traits.one_step else "no single step to unroll: bpda attacks it"
    return no_purifier(settings, traits) or missing


@attack(
    "approximate-input",
    source="Yang et al. 2019 (ME-Net), as Yoon et al. 2021 describe it, supplement D.1",
    paper="Yang et al. 2019",
    link="https://arxiv.org/abs/1905.11971",
    settings=SHORT_EOT,
    skip=no_purifier,
    cost=bpda_runs,
    knows="all",
)
def approximate_input(
    *, steps: Count = 40, eot: Count = 15, step: Step = 0.25, loss: LossName = "ce"
) -> PGD:
    """Purify, add the classifier's gradient to the purified image, go back into the ball."""
    return PGD(Eot(Bpda(loss), eot), steps, step, rule=FromPurified())


@attack(
    "one-step-unrolling",
    source="Yoon et al. 2021, supplement, figure 9",
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    settings=SHORT_EOT,
    skip=no_step,
    cost=lambda settings, traits: Runs(one_step=drawn(settings, traits)),
    knows="all",
)
def one_step_unrolling(
    *, steps: Count = 40, eot: Count = 15, step: Step = 0.25, loss: LossName = "ce"
) -> PGD:
    """PGD on the classifier behind the first step of the purifier's walk."""
    return PGD(Eot(Exact(loss, "one_step"), eot), steps, step)


@attack(
    "bpda-surrogate",
    source="Athalye et al. 2018, section 4.1.2: backwards through a differentiable stand-in",
    paper="Athalye et al. 2018",
    link="https://arxiv.org/abs/1802.00420",
    settings=SHORT_EOT,
    skip=no_surrogate,
    cost=lambda settings, traits: Runs(
        bpda=drawn(settings, traits), stand_in=drawn(settings, traits)
    ),
    knows="all",
)
def bpda_surrogate(
    *, steps: Count = 40, eot: Count = 15, step: Step = 0.25, loss: LossName = "ce"
) -> PGD:
    """BPDA: forward through the defense, backward through its stand-in."""
    return PGD(Eot(BpdaSurrogate(loss), eot), steps, step)
