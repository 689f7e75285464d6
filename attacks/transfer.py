"""Transfer: points made on another classifier, the same ones for every defense."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from attacks.gradients import Blind
from attacks.pgd import PGD
from bench import rng
from bench.attack import Attacked
from bench.defense import Defense
from bench.network import computing
from bench.registry import Context, attack, find_classifier
from bench.spec import Later, Range, Settings
from bench.threat import ThreatModel

TWIN = "twin"
"""Source of `same`: the recipe of the natural classifier with another seed."""
Source = Literal["same", "other"]
Other = Literal["cnn", "vgg"]
# Another architecture: VGG-19, where its five halvings leave something of an image.
OTHER: Mapping[str, Settings] = {
    name: {"other": "vgg"} for name in ("cifar10", "cifar100", "svhn", "tinyimagenet", "imagenet")
}


def source_of(settings: Settings) -> str:
    """The classifier that the points are made on."""
    return TWIN if settings["source"] == "same" else str(settings["other"])


@dataclass(frozen=True)
class Transfer:
    """`attack` on the bare classifier `network`; the defense is never asked.

    Its randomness comes from source, settings and images alone, not from the cell.
    """

    source: str
    network: Defense
    attack: PGD

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the ball around x [B,C,H,W]; `defense` changes nothing."""
        seed = ("transfer", self.source, self.attack.steps, fingerprint(x))
        with rng.seeded(*seed), computing("float32"):  # whatever the defense computes in
            found = self.attack(self.network, x, y, threat)
        return Attacked(found.x_adv)


def fingerprint(x: Tensor) -> str:
    """The sha256 of images, to seed points that depend on nothing else."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _fits(settings: Settings, dataset: str) -> None:
    """The source has to take such images."""
    find_classifier(source_of(settings)).fits({}, dataset)


@attack(
    "transfer",
    source="classifier PGD of Yoon et al. 2021 on another classifier",
    settings=OTHER,
    fits=_fits,
    weights=lambda settings: (source_of(settings),),
    uses_dataset=True,
)
def transfer(
    context: Context,
    *,
    source: Source = "same",
    steps: Annotated[int, Range(1)] = 40,
    step: Annotated[float, Range(0)] = 0.25,
    other: Annotated[Other, Later()] = "cnn",
) -> Transfer:
    """PGD on a bare classifier: a twin (`same`) or another architecture (`other`)."""
    name = source_of({"source": source, "other": other})
    network = context.network(find_classifier(name).factory(context), name)
    return Transfer(source, Defense(network), PGD(Blind(), steps, step, random_start=True))
