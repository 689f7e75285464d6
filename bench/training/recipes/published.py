"""What the papers set per data set, for images that are fetched: nothing here is a size of ours.

Where nobody printed a number for a data set, its comment says whose it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api.images import DatasetInfo
from bench.errors import BenchError

Augment = Callable[[Tensor], Tensor]
Family = Literal["wrn28", "wrn34", "wrn70", "conv"]


@dataclass(frozen=True)
class Paper:
    """One data set: its training images, the attack, and what the networks are.

    images: of the training split, by which epochs become steps. eps: linf size of the papers'
    attack, and of adversarial training. natural: the naturally trained classifier. crop: pixels of
    padding before a random crop; mirror: left and right may be exchanged. levels: NCSNv2's largest
    and smallest noise and their number; ngf its width.
    """

    images: int
    eps: float
    natural: Family
    levels: tuple[float, float, int]
    score_steps: int
    crop: int = 0
    mirror: bool = False
    ngf: int = 128

    @property
    def robust(self) -> Family:
        """The adversarially trained classifiers: WRN-34-10 of AID-Purifier, or the same as here."""
        return "conv" if self.natural == "conv" else "wrn34"

    @property
    def augment(self) -> Augment | None:
        """Crop and flip, as far as the papers do."""
        if not (self.crop or self.mirror):
            return None
        return lambda x: mirrored(cropped(x, self.crop)) if self.mirror else cropped(x, self.crop)

    @property
    def flips(self) -> Augment | None:
        """Flips alone: what generative models are trained with (Yoon et al. 2021, A.3)."""
        return mirrored if self.mirror else None

    def steps(self, epochs: float, batch: int) -> int:
        """So many passes over the training images."""
        return round(epochs * (self.images // batch))


# Levels and lengths of NCSNv2: Yoon et al. 2021, Table 5; its CIFAR rows also for SVHN and
# TinyImageNet. Its width at 28x28 is printed nowhere. Crop and flip: the meliketoy repository (4
# pixels of 32; 8 of 64 here). AID-Purifier crops nothing on SVHN. eps: AID-Purifier A.4; Table 9 of
# Yoon et al. Natural classifiers: WRN-28-10 of ADP and ScoreOpt, WRN-34-10 of AID-Purifier, ADP's
# CNN (supplement, Fig. 6) at 28x28.
CIFAR = (50.0, 0.008454, 232)
PUBLISHED: Mapping[str, Paper] = {
    "cifar10": Paper(45_000, 8 / 255, "wrn28", CIFAR, 300_000, crop=4, mirror=True),
    "cifar100": Paper(45_000, 8 / 255, "wrn28", CIFAR, 300_000, crop=4, mirror=True),
    "svhn": Paper(68_257, 12 / 255, "wrn34", CIFAR, 300_000),
    "tinyimagenet": Paper(95_000, 8 / 255, "wrn34", CIFAR, 300_000, crop=8, mirror=True),
    "mnist": Paper(55_000, 0.3, "conv", (15.0, 0.005253, 110), 200_000, ngf=64),
    "fashionmnist": Paper(55_000, 8 / 255, "conv", (15.0, 0.005253, 64), 200_000, ngf=64),
}


def published(info: DatasetInfo) -> Paper:
    """The facts of a data set; BenchError for one that nothing is trained on here."""
    if info.source not in PUBLISHED:
        raise BenchError(
            f"there is no training recipe for data set '{info.name}' (there is for patches, "
            f"digits, {', '.join(PUBLISHED)}); put the published weights in place of it"
        )
    return PUBLISHED[info.source]


def classifier(family: Family, info: DatasetInfo) -> tuple[str, dict[str, Any]]:
    """Network and arguments of a classifier on a data set."""
    sizes: dict[str, Any] = {"classes": len(info.classes), "channels": info.shape[0]}
    if family == "conv":
        return "adp-simple-conv", {**sizes, "size": info.shape[1]}
    if family == "wrn28":
        return "wideresnet-meliketoy", {**sizes, "depth": 28, "widen": 10}
    if family == "wrn70":  # dropout as in the class that DiffPure's authors publish
        return "wideresnet", {**sizes, "depth": 70, "widen": 16, "dropout": 0.3}
    return "wideresnet", {**sizes, "depth": 34, "widen": 10}


def cropped(x: Tensor, padding: int) -> Tensor:
    """Each image of [B,C,H,W] shifted by up to `padding` pixels, black where it was not."""
    if not padding:
        return x
    count, _, height, width = x.shape
    rows, columns = (
        torch.randint(2 * padding + 1, (count, 1), device=x.device)
        + torch.arange(side, device=x.device)
        for side in (height, width)
    )
    padded = F.pad(x, [padding] * 4).permute(0, 2, 3, 1)
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def mirrored(x: Tensor) -> Tensor:
    """Each image of [B,C,H,W] with left and right exchanged with probability one half."""
    chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(chosen, x.flip(3), x)
