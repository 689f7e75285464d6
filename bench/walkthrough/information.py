"""How much a classifier's first map tells of its last one: natural and attacked (AID, Table 19).

Both maps are averaged over their positions, as AID-Purifier's discriminator reads them; the paper
does not print what its estimate sees. Values are lower bounds, and of few images low ones
(bench/walkthrough/mine.py): they are to be compared with each other, of equally many images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.report.figures.data import Estimate, Estimates
from bench.spec import NO_ATTACK
from bench.walkthrough import mine
from bench.walkthrough.trajectory import pooled
from bench.walkthrough.walk import (
    Say,
    Scene,
    Wanted,
    all_walks,
    conditions,
    counted,
    scenes,
    with_clean,
)

FEWEST = 16
REPEATS = 3
"""Halvings of the images, each with a network of its own."""


def information(wanted: Wanted, images: int, setup: Setup, say: Say) -> Estimates:
    """Estimates for each defense's classifier at its clean and its attacked images."""
    found = scenes(with_clean(wanted))
    count = counted(wanted, images)
    if count < FEWEST:
        raise BenchError(f"--images {count}: an estimate needs at least {FEWEST}")

    def estimate(scene: Scene) -> Estimate:
        ends = [
            _ends(scene, done.defense.classifier.module, done.points)
            for done in all_walks(scene, count, setup, wanted, say)
        ]
        first, last = (torch.cat(side)[:count] for side in zip(*ends, strict=True))
        values = [mine.information(first, last, seed) for seed in range(REPEATS)]
        mean = sum(values) / REPEATS
        say(f"{scene.defense}, {scene.attack}: {mean:.3f} nats")
        attacked = scene.attack != NO_ATTACK
        return Estimate(scene.attack, mean, min(values), max(values), attacked)

    groups: dict[str, tuple[Estimate, ...]] = {}
    for scene in found:
        groups[scene.defense] = (*groups.get(scene.defense, ()), estimate(scene))
    said = (
        f"{conditions(wanted, *found)}, n = {count} images. Mutual information "
        f"of the first and the last map of the classifier, each averaged over positions: MINE's "
        f"lower bound on images that its network was not trained on; mean, least and largest of "
        f"{REPEATS} halvings."
    )
    return Estimates(tuple(groups.items()), "mutual information (nats)", said)


def _ends(scene: Scene, module: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last map for images [B,C,H,W], pooled, on the CPU."""
    ends = [pooled(module, x, place) for place in (0, -1)]
    if ends[0] is None or ends[1] is None:
        raise BenchError(f"{scene.defense}: its classifier offers no maps to compare")
    return ends[0].cpu(), ends[1].cpu()
