"""Published protocols: what a paper's own code runs, each one expression with its own settings.

`attack:protocol=NAME` is a plug-in of that name. A protocol that decides inside the attack says so
in `Attacked.protocol`; the judge's fresh draws on the point that it hands over score it like any
other attack.
"""

from __future__ import annotations

from dataclasses import replace

from attacks.family import (
    Count,
    Share,
    Step,
    bpda_runs,
    looks,
    no_direction,
    no_purifier,
    no_surrogate,
)
from attacks.gradients import Bpda, Displacement, Eot, Score, draws_of, surrogate
from attacks.keep import Verify
from attacks.pgd import PGD
from bench.api import Runs, attack
from bench.api.purifier import Traits
from bench.spec import Settings

HILL = (
    "Hill et al. 2021, Stochastic Security; without random start as in DiffPure (Nie et al. 2022) "
    "and ScoreOpt (Zhang et al. 2023)"
)
QUICK_HILL = {"quick": {"steps": 10, "eot": 5, "verify": 20}}
VOTES = "code of Yoon et al. 2021: a vote of signs in place of the mean gradient"
QUICK = {"quick": {"steps": 10, "eot": 5}}


def looked(settings: Settings, traits: Traits) -> Runs:
    """Hill's looks: at the start, then n + 1 times in n steps; each draw's logits are read twice.

    At most: it ends where every image has fallen. An image is verified once for good, and again
    after every unlucky look.
    """
    draws, confirm = (draws_of(int(settings[key]), traits.random) for key in ("eot", "verify"))
    times = int(settings["steps"]) + 1
    return Runs(
        plain=draws + confirm,
        bpda=times * draws,
        classified=times * draws if draws > 1 else 0,
        luck=times * confirm if traits.random else 0,
    )


def _looked_beside(settings: Settings, traits: Traits) -> Runs:
    """The gradient goes through the stand-in, so that every look has runs of its own."""
    runs = looked(settings, traits)
    return replace(runs, plain=runs.plain + runs.bpda, bpda=0, surrogate=runs.bpda)


@attack(
    "bpda-eot:protocol=hill",
    source=HILL,
    paper="Hill et al. 2021",
    link="https://arxiv.org/abs/2005.13525",
    settings=QUICK_HILL,
    skip=no_purifier,
    cost=looked,
    knows="all",
    follows="bpda",
)
def bpda_eot_hill(
    *,
    steps: Count = 50,
    eot: Count = 15,
    step: Step = 0.25,
    random_start: bool = False,
    verify: Count = 150,
) -> PGD:
    """BPDA along the loss of mean logits; any wrong look breaks an image, if `verify` runs agree.

    `random_start=true` is Hill's own; DiffPure and ScoreOpt begin at the image.
    """
    gradient = Eot(Bpda(), eot, combine="logits")
    return PGD(gradient, steps, step, random_start, keep=Verify(eot, verify))


@attack(
    "pgd-surrogate:protocol=hill",
    source="Zhang et al. 2023, code: 20 steps, 20 draws, verified by 150",
    paper="Zhang et al. 2023",
    link="https://arxiv.org/abs/2307.04333",
    settings=QUICK_HILL,
    skip=no_surrogate,
    cost=_looked_beside,
    knows="all",
)
def pgd_surrogate_hill(
    *,
    steps: Count = 20,
    eot: Count = 20,
    step: Step = 0.25,
    random_start: bool = False,
    verify: Count = 150,
) -> PGD:
    """Hill's protocol with the stand-in's gradient; the defense itself decides every look."""
    gradient = Eot(surrogate(), eot, combine="logits")
    return PGD(gradient, steps, step, random_start, keep=Verify(eot, verify))


@attack(
    "bpda-eot:protocol=adp",
    source=VOTES,
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    norms=("linf",),
    settings=QUICK,
    skip=no_purifier,
    cost=bpda_runs,
    knows="all",
    follows="bpda",
)
def bpda_eot_adp(*, steps: Count = 40, eot: Count = 15, step: Step = 0.25) -> PGD:
    """BPDA along the sign that most draws vote for."""
    return PGD(Eot(Bpda(), eot, combine="vote"), steps, step)


@attack(
    "joint-score:protocol=adp",
    source=VOTES,
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    norms=("linf",),
    settings=QUICK,
    skip=no_direction,
    cost=lambda settings, traits: replace(bpda_runs(settings, traits), direction=looks(settings)),
    knows="all",
)
def joint_score_adp(
    *, steps: Count = 40, eot: Count = 15, step: Step = 0.25, weight: Share = 0.5
) -> PGD:
    """The vote of signs and the score's sign, half and half."""
    gradient = Eot(Bpda(), eot, combine="vote")
    return PGD(gradient, steps, step, direction=Score(), weight=weight)


@attack(
    "joint-full:protocol=adp",
    source=VOTES,
    paper="Yoon et al. 2021",
    link="https://arxiv.org/abs/2106.06041",
    norms=("linf",),
    settings=QUICK,
    skip=no_direction,
    cost=bpda_runs,
    knows="all",
)
def joint_full_adp(
    *, steps: Count = 40, eot: Count = 15, step: Step = 0.25, weight: Share = 0.5
) -> PGD:
    """The vote of signs and the sign of the mean displacement, half and half."""
    gradient = Eot(Bpda(), eot, combine="vote")
    return PGD(gradient, steps, step, direction=Displacement(eot), weight=weight)
