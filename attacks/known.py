"""Known randomness: what is left where the attacker knows the random numbers of the judge.

A diagnostic and no attack on a deployed defense. The gap to the attacks that do not know them is
what a defense owes to its randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks.family import Count, Step
from attacks.gradients import Eot, Exact, Slope
from attacks.losses import AnyLoss, LossName
from attacks.pgd import PGD, Followed
from bench.api import Runs, attack
from bench.api.purifier import Defense, Traits
from bench.compute import rng
from bench.spec import Settings
from bench.threat import KNOWN


@dataclass(frozen=True)
class Replayed:
    """The gradient through the very runs of the judge's only prediction, all S of them."""

    loss: AnyLoss = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """The same random numbers at every look."""
        with rng.stream("judge", 0):
            return Eot(Exact(self.loss), defense.runs)(defense, x, y)


def _deterministic(settings: Settings, traits: Traits) -> str | None:
    """There has to be something to know."""
    return None if traits.random else "deterministic defense: no randomness to know"


@attack(
    "known-randomness",
    source="the DW-box of Liu et al. 2024 (ADDT)",
    paper="Liu et al. 2024",
    link="https://arxiv.org/abs/2404.14309",
    settings={"quick": {"steps": 10}},
    skip=_deterministic,
    cost=lambda settings, traits: Runs(exact=(int(settings["steps"]) + 1) * traits.runs),
    threat=lambda settings, ball: f"{KNOWN}:{ball}",
    knows="all",
    aside="attacker and judge use the same random numbers, a diagnostic of how much is owed to "
    "randomness",
)
def known_randomness(*, steps: Count = 100, step: Step = 0.25, loss: LossName = "ce") -> Followed:
    """PGD that knows the random numbers of the judge: a diagnostic, in no worst case."""
    return Followed(PGD(Replayed(loss), steps, step, keep="loss"))
