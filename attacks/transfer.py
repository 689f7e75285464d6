"""Transfer: points made on another classifier, the same ones for every defense."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from attacks.gradients import Blind
from attacks.pgd import PGD
from bench import rng
from bench.attack import Attacked
from bench.defense import Defense
from bench.registry import Context, attack, find_classifier
from bench.spec import Range
from bench.threat import ThreatModel

# same: the recipe of the natural classifier with another seed; other: another architecture.
SOURCES = {"same": "twin", "other": "cnn"}
Source = Literal["same", "other"]


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
        with rng.seeded("transfer", self.source, self.attack.steps, fingerprint(x)):
            found = self.attack(self.network, x, y, threat)
        return Attacked(found.x_adv)


def fingerprint(x: Tensor) -> str:
    """The sha256 of images, to seed points that depend on nothing else."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


@attack(
    "transfer",
    source="classifier PGD of Yoon et al. 2021 on another classifier",
    weights=lambda settings: (SOURCES[str(settings["source"])],),
    uses_dataset=True,
)
def transfer(
    context: Context,
    *,
    source: Source = "same",
    steps: Annotated[int, Range(1)] = 40,
    step: Annotated[float, Range(0)] = 0.25,
) -> Transfer:
    """PGD on a bare classifier: a twin (`same`) or another architecture (`other`)."""
    name = SOURCES[source]
    network = context.network(find_classifier(name).factory(context), name)
    return Transfer(source, Defense(network), PGD(Blind(), steps, step, random_start=True))
