"""Searches that move otherwise: APGD's step sizes and momentum, along any gradient under EOT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from attacks.family import Begin, Count, Share, Step, begun, choosing, started
from attacks.gradients import Blind, Bpda, Eot, Exact, Gradient, draws_of
from attacks.keep import Keep
from attacks.losses import AnyLoss, Climbed, LossName
from attacks.pgd import PGD
from attacks.steps import Auto, Momentum
from attacks.targets import CANDIDATES, Aim, Likeliest, aimed, check
from bench.api import Runs, attack
from bench.api.purifier import Traits
from bench.facts import Follows, Knows
from bench.spec import Later, Settings

Through = Literal["blind", "bpda", "exact"]
CROCE: Mapping[str, str] = {
    "adp": "apgd:gradient=exact,loss=margin,steps=10,eot=200",
    "aid short": "autoattack:attacks=apgd-ce+apgd-t",
    "aid ce": "apgd:gradient=bpda,loss=ce,steps=1000,restarts=5",
    "aid cw": "apgd:gradient=bpda,loss=margin,steps=1000,restarts=5",
    "aid dlr-t": "apgd:gradient=bpda,loss=dlr-t,steps=1000,restarts=5",
}
"""The adaptive attacks of Croce et al. 2022 on ADP and AID-Purifier, in the grammar."""


def along(through: Through, loss: Climbed, eot: int) -> Gradient:
    """The gradient that an attacker who looks so far would follow."""
    if through == "blind":
        return Blind(loss)
    return Eot(Bpda(loss) if through == "bpda" else Exact(loss), eot)


def no_gradient(settings: Settings, traits: Traits) -> str | None:
    """`bpda` goes through anything; without a purifier both are the classifier's gradient."""
    if settings["gradient"] == "exact" and not (traits.exact or traits.identity):
        return "no exact gradient: gradient=bpda attacks it"
    return None


def knows_of(settings: Settings) -> Knows:
    """What an attack may look at, by its setting `gradient`."""
    return "blind" if settings["gradient"] == "blind" else "all"


def follows_of(settings: Settings) -> Follows:
    """Which gradient through the purifiers it climbs, by its setting `gradient`."""
    through: Mapping[str, Follows] = {"bpda": "bpda", "exact": "exact"}
    return through.get(str(settings["gradient"]), "")


def _runs(settings: Settings, traits: Traits) -> Runs:
    """One look more than steps where the highest loss is kept."""
    steps = int(settings["steps"]) + (settings["keep"] == "loss")
    looks, plain = steps * begun(settings), choosing(settings, traits)
    if settings["loss"] == "dlr-t":
        plain += draws_of(Likeliest.draws, traits.random)
        looks += CANDIDATES if settings["aim"] == "malt" else 0
    return replace(following(looks, settings, traits), plain=plain)


def following(looks: int, settings: Settings, traits: Traits) -> Runs:
    """What so many looks along the setting `gradient` ask, with `eot` draws but for `blind`."""
    if settings["gradient"] == "blind":
        return Runs(blind=looks)
    runs = looks * draws_of(int(settings["eot"]), traits.random)
    return Runs(exact=runs) if settings["gradient"] == "exact" else Runs(bpda=runs)


@attack(
    "apgd",
    source="Croce & Hein 2020; on defenses as Croce et al. 2022, Adaptive Test-time Defenses",
    paper="Croce & Hein 2020",
    link="https://arxiv.org/abs/2003.01690",
    settings={"quick": {"steps": 10, "eot": 5}, "standard": {"steps": 50, "eot": 5}},
    skip=no_gradient,
    cost=_runs,
    fits=lambda settings, dataset: check(str(settings["aim"]), (str(settings["loss"]),)),
    knows=knows_of,
    follows=follows_of,
)
def apgd(
    *,
    steps: Count = 100,
    eot: Count = 20,
    step: Step = 2.0,
    random_start: bool = True,
    restarts: Count = 1,
    keep: Keep = "loss",
    loss: AnyLoss = "ce",
    gradient: Through = "bpda",
    start: Annotated[Begin, Later()] = "own",
    aim: Annotated[Aim, Later()] = "likeliest",
) -> PGD:
    """PGD that sets its own steps by the mean loss over the draws.

    loss=margin is CW; with loss=dlr-t restart i aims at the i-th likeliest wrong class,
    with aim=malt at the i-th nearest by MALT. start=base: one more restart, from the points of
    `transfer:source=base`.
    """
    return PGD(
        along(gradient, loss, eot),
        steps,
        step,
        random_start,
        restarts,
        keep,
        targets=aimed(loss, aim, along(gradient, "gap", eot)),
        rule=Auto(),
        start=started(start),
    )


@attack(
    "mim",
    source="Dong et al. 2018: 10 steps of eps/10, decay 1",
    paper="Dong et al. 2018",
    link="https://arxiv.org/abs/1710.06081",
    settings={"quick": {"eot": 5}},
    skip=no_gradient,
    cost=_runs,
    knows=knows_of,
    follows=follows_of,
)
def mim(
    *,
    steps: Count = 10,
    eot: Count = 15,
    step: Step = 0.1,
    decay: Share = 1.0,
    random_start: bool = False,
    restarts: Count = 1,
    keep: Keep = "last",
    loss: LossName = "ce",
    gradient: Through = "bpda",
) -> PGD:
    """PGD along the accumulated gradient."""
    follow = along(gradient, loss, eot)
    return PGD(follow, steps, step, random_start, restarts, keep, rule=Momentum(decay))
