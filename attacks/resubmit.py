"""Resubmission: who may try a candidate again and again needs one lucky draw at one step.

DiffBreak, DiffHammer and the repaired AutoAttack of Liu et al. count an image as broken if any of N
fresh draws of the defense fails at any step of the search. Every search of the PGD and APGD
families has a twin here that hands all of its candidates to the judge, who tries each. A random
defense also loses clean images at so many tries, so both figures are always measured together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks import apgd, family, strict
from attacks.apgd import along, following
from attacks.autoattack import AutoAttack
from attacks.family import Count, begun
from attacks.gradients import followed
from attacks.keep import Keeper
from attacks.library import GradientMode
from attacks.losses import LossName
from attacks.pgd import PGD, Followed, Strongest
from attacks.steps import Auto
from attacks.strict import losses_of
from bench.api import AttackPlugin, Runs, attack
from bench.api.attacked import Attack, Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.api.register import PLUGINS
from bench.errors import BenchError
from bench.spec import Settings, Value, resubmitted
from bench.threat import RESUBMIT

RAND: tuple[LossName, ...] = ("ce", "dlr")
"""The losses of AutoAttack's version for random defenses."""
SOURCE = "10 tries as in DiffBreak; AutoAttack as repaired by Liu et al."


def rand(
    *,
    random_steps: int = AutoAttack.random_steps,
    eot: int = AutoAttack.eot,
    gradient: GradientMode = "bpda",
) -> Strongest:
    """What AutoAttack runs against random defenses, by our own APGD: along CE, then along DLR."""
    follows = (along(gradient, loss, eot) for loss in RAND)
    return Strongest(tuple(PGD(each, random_steps, 2.0, True, rule=Auto()) for each in follows))


FAMILY: dict[str, Callable[..., Attack]] = {
    "classifier-pgd": family.classifier_pgd,
    "bpda": family.bpda,
    "bpda-eot": family.bpda_eot,
    "joint-score": family.joint_score,
    "joint-full": family.joint_full,
    "pgd-exact": family.pgd_exact,
    "pgd-surrogate": family.pgd_surrogate,
    "apgd": apgd.apgd,
    "mim": apgd.mim,
    "pgd:protocol=strict": strict.pgd_strict,
    "apgd:protocol=strict": strict.apgd_strict,
    "autoattack": rand,
}
"""The searches that have a twin."""
CHOOSING = ("keep", "select")
"""Settings of which point is handed over: here, all of them are."""


class Every(Keeper):
    """All points that a search comes to."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.points: list[Tensor] = []

    def came(self, point: Tensor) -> None:
        """Keeps it."""
        self.points.append(point.clone())


@dataclass(frozen=True)
class Resubmitted:
    """A search whose candidates are all handed over, to be tried `tries` times each."""

    search: Attack
    tries: int = 10

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The candidates of each step around x [B,C,H,W] in [0,1], in their order."""
        search = self.search.search if isinstance(self.search, Followed) else self.search
        if not isinstance(search, PGD | Strongest):
            raise BenchError(f"{type(search).__name__} has no steps whose points could be tried")
        kept = Every(x)
        trace, _ = search.climb(kept, defense, x, y, threat)
        return Attacked(
            kept.points[-1],
            trace=trace,
            gradient=followed(defense) if isinstance(self.search, Followed) else "",
            candidates=torch.stack(kept.points),
            tries=self.tries,
        )


def steps_of(settings: Settings) -> int:
    """How many candidates a search comes to, over all of its losses and restarts."""
    if "random_steps" in settings:
        return int(settings["random_steps"]) * len(RAND)
    losses = len(losses_of(str(settings["losses"]))) if "losses" in settings else 1
    return int(settings["steps"]) * begun(settings) * losses


def _rand_cost(settings: Settings, traits: Traits) -> Runs:
    """One look a step; the judge chooses, and counts its tries by itself."""
    return following(steps_of(settings), settings, traits)


def _twin(base: AttackPlugin, factory: Callable[..., Attack]) -> None:
    """Register the attack that is `base` with its candidates tried again and again."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    asked = {key for key in inspect.signature(factory).parameters if key not in CHOOSING}
    kept = {key: hint for key, hint in base.hints.items() if key in asked}
    usual: dict[str, Value] = {"keep": "last", "select": 1}

    def whole(settings: Settings) -> Settings:
        return {**settings, **{key: usual[key] for key in CHOOSING if key in base.defaults}}

    def made(**settings: Any) -> Resubmitted:
        tries = settings.pop("tries")
        return Resubmitted(factory(**whole(settings)), tries)

    def skip(settings: Settings, traits: Traits) -> str | None:
        if not traits.random:
            return "deterministic defense: a second try is the first"
        return base.skip(whole(settings), traits)

    def cost(settings: Settings, traits: Traits) -> Runs:
        counted = _rand_cost if factory is rand else base.cost
        return counted(whole(settings), traits)

    made.__doc__ = f"`{base.name}`, whose candidate of each step is tried by `tries` fresh draws."
    made.__qualname__ = made.__name__ = resubmitted(base.name)
    made.__annotations__ = {**kept, "tries": Count, "return": Resubmitted}
    parameters = [
        inspect.Parameter(key, keyword, default=base.defaults[key], annotation=hint)
        for key, hint in kept.items()
    ]
    parameters.append(inspect.Parameter("tries", keyword, default=10, annotation=Count))
    vars(made)["__signature__"] = inspect.Signature(parameters)
    attack(
        resubmitted(base.name),
        source=f"{SOURCE}; else as {base.name}",
        paper=base.paper,
        link=base.link,
        version=base.version,
        software=base.software,
        norms=base.norms,
        settings={
            table: {key: value for key, value in own.items() if key in kept}
            for table, own in base.settings.items()
        },
        fits=base.fits,
        skip=skip,
        cost=cost,
        tries=lambda settings: steps_of(settings) * int(settings["tries"]),
        threat=lambda settings, ball: f"{RESUBMIT}:{ball}",
        knows=base.knows,
        follows=base.follows,
        budget=(*base.budget, "tries"),
        aside="an image is broken if any try at any step fails; the share that survives stands "
        "beside that of clean images at as many tries, and the difference is what counts",
    )(made)


for _name, _factory in FAMILY.items():
    _base = PLUGINS["attack"][_name]
    assert isinstance(_base, AttackPlugin)
    _twin(_base, _factory)
