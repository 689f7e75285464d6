"""Transfer: points made on a bare classifier, the same ones for every defense."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import torch
from torch import Tensor

from attacks.gradients import Blind
from attacks.losses import AnyLoss
from attacks.pgd import PGD, Strongest
from attacks.steps import Auto
from attacks.targets import aimed
from bench.api import Context, find_attack, find_classifier
from bench.api import attack as attack_plugin
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Traits
from bench.compute import rng
from bench.compute.network import computing
from bench.compute.once import once
from bench.errors import BenchError
from bench.spec import Later, Range, Settings

TWIN = "twin"
"""Source of `same`: the recipe of the natural classifier with another seed."""
STEP = 0.25
"""Of eps, of PGD and MIM."""
BASE = "base"
"""The source that is the classifier behind the defense itself."""
Source = Literal["same", "other", "base"]
Way = Literal["pgd", "mim", "deepfool", "cw"]
AMOUNTS: Mapping[str, Settings] = {"cw": {"searches": 1, "c": 0.01}}
"""Beside steps: of the authors of AID-Purifier."""
Other = Literal["cnn", "vgg"]
# Another architecture: VGG-19, where its five halvings leave something of an image.
OTHER: Mapping[str, Settings] = {
    name: {"other": "vgg"} for name in ("cifar10", "cifar100", "svhn", "tinyimagenet", "imagenet")
}


def source_of(settings: Settings) -> str:
    """The classifier that the points are made on, where it is another than the defended one."""
    return TWIN if settings["source"] == "same" else str(settings["other"])


class Stepping(Protocol):
    """An attack of so many steps."""

    @property
    def steps(self) -> int:
        """How many."""
        ...

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the ball around x [B,C,H,W]."""
        ...


@dataclass(frozen=True)
class Transfer:
    """`attack` on the bare classifier `network`; the defense is never asked.

    Its randomness comes from source, settings and images alone, not from the cell. name: of the
    attack, where it is not PGD.
    """

    source: str
    network: Defense
    attack: Stepping
    name: str = ""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the ball around x [B,C,H,W]; `defense` changes nothing."""
        which = filter(None, (self.source, self.name))
        seed = ("transfer", *which, self.attack.steps, fingerprint(x))

        def made() -> Tensor:
            with rng.seeded(*seed), computing("float32"):  # whatever the defense computes in
                return self.attack(self.network, x, y, threat).x_adv

        how = (*seed, repr(self.attack), str(threat), fingerprint(y), Network.chunk)
        return Attacked(once(self.network.classifier.module, how, made))


@dataclass(frozen=True)
class StaticBase:
    """The strongest points of the bare classifier behind a defense, its static base.

    PGD with steps of `step` * eps, and APGD along CE, CW and targeted DLR (up to `targets` wrong
    classes, where there are four classes), `steps` each; of each image the point that this
    classifier is least right about. They depend on classifier, settings and image alone, and a
    worker makes them once for all attacks on a defense.
    """

    steps: int = 40
    step: float = 0.25
    targets: int = 9

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Points in the ball around x [B,C,H,W]; the purifiers are never asked."""
        seed = ("transfer", BASE, self.steps, fingerprint(x))

        def made() -> Tensor:
            bare = Defense(defense.classifier.apart(BASE))
            with rng.seeded(*seed), computing("float32"):
                classes = bare.logits(x[:1]).shape[1]
                return Strongest(tuple(self._searches(classes)))(bare, x, y, threat).x_adv

        how = (*seed, self.step, self.targets, str(threat), fingerprint(y), Network.chunk)
        return once(defense.classifier.module, how, made)

    def _searches(self, classes: int) -> Iterator[PGD]:
        yield PGD(Blind(), self.steps, self.step, random_start=True)
        losses: tuple[AnyLoss, ...] = ("ce", "margin", "dlr-t")
        for loss in losses if classes >= 4 else losses[:2]:
            targets = aimed(loss)
            restarts = min(self.targets, classes - 1) if targets else 1
            yield PGD(Blind(loss), self.steps, 2.0, True, restarts, targets=targets, rule=Auto())


@dataclass(frozen=True)
class Static:
    """The points of `base`, handed over as they are: what a purifier adds to its classifier."""

    base: StaticBase

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the ball around x [B,C,H,W]; the purifiers change nothing."""
        return Attacked(self.base(defense, x, y, threat))


def fingerprint(x: Tensor) -> str:
    """The sha256 of images, to seed points that depend on nothing else."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _fits(settings: Settings, dataset: str) -> None:
    """The source has to take such images, and settings to be ones that make its points."""
    way = str(settings["attack"])
    if settings["source"] != BASE:
        find_classifier(source_of(settings)).fits({}, dataset)
    elif way != "pgd":
        raise BenchError(f"transfer: the points of source=base are not of {way}")
    if settings["step"] != STEP and way != "pgd" and "step" not in find_attack(way).defaults:
        raise BenchError(f"transfer: attack={way} has no step")


def _itself(settings: Settings, traits: Traits) -> str | None:
    """From the static base to itself, nothing is transferred."""
    alone = settings["source"] == BASE and traits.identity
    return "no purifier: these points are made on it; apgd attacks it" if alone else None


@attack_plugin(
    "transfer",
    source="classifier PGD of Yoon et al. 2021 on another classifier",
    settings=OTHER,
    fits=_fits,
    weights=lambda settings: () if settings["source"] == BASE else (source_of(settings),),
    skip=_itself,
    knows="little",
)
def transfer(
    context: Context,
    *,
    source: Source = "same",
    steps: Annotated[int, Range(1)] = 40,
    step: Annotated[float, Range(0)] = STEP,
    other: Annotated[Other, Later()] = "cnn",
    attack: Annotated[Way, Later()] = "pgd",
) -> Transfer | Static:
    """PGD on a bare classifier: a twin (`same`) or another architecture (`other`).

    source=base: the strongest points of the classifier behind the defense, by PGD and APGD. attack:
    what makes the points of another source in place of PGD.
    """
    if source == BASE:
        return Static(StaticBase(steps, step))
    name = source_of({"source": source, "other": other})
    network = context.network(find_classifier(name).factory(context), name)
    if attack == "pgd":
        return Transfer(source, Defense(network), PGD(Blind(), steps, step, random_start=True))
    way = find_attack(attack)
    own = {"step": step} if "step" in way.defaults else AMOUNTS.get(attack, {})
    made = way.factory(gradient="blind", steps=steps, **own)
    return Transfer(source, Defense(network), made, attack)
