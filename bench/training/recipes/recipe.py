"""What a recipe is, and what differs between the data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.ball import ThreatModel
from bench.api.images import DatasetInfo
from bench.training.fit import Fit, Loss


@dataclass(frozen=True)
class Recipe:
    """All that training needs besides data and seed.

    `merit(network, validation images, labels)` gives the figures stored with the weights;
    `seed_offset` tells apart recipes that differ in nothing but their seed. `half` rounds what was
    trained to 16 bits before its merit is taken, for a file of half the size. `own` makes a network
    of a plug-in, in place of one by its paper's name.
    """

    network: str
    arguments: Mapping[str, Any]
    loss: Loss
    fit: Fit
    merit: Callable[[nn.Module, Tensor, Tensor], dict[str, float]]
    augment: Callable[[Tensor], Tensor] | None = None
    normalised: bool = True
    seed_offset: int = 0
    half: bool = False
    own: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class Sizes:
    """What differs between the data sets; steps are of 128 images."""

    eps: float
    """linf size of adversarial training."""
    eps_merit: float
    """linf size at which the figure of merit is taken."""
    natural_steps: int
    adversarial_steps: int
    score_steps: int
    ncsnv2_steps: int
    sigmas: tuple[float, ...]
    """Noise levels at which the denoising loss is reported."""
    flips: bool
    """Whether a mirrored image is still an image of its class."""
    unet: Mapping[str, Any] = field(default_factory=dict)


SIZES: Mapping[str, Sizes] = {
    "patches": Sizes(
        eps=8 / 255,
        eps_merit=8 / 255,
        natural_steps=800,
        adversarial_steps=1500,
        score_steps=7000,
        ncsnv2_steps=600,
        sigmas=(0.03, 0.06, 0.09, 0.15),
        flips=True,
        unet={"widths": [16, 32, 48], "blocks": [1, 1, 1], "centre": 0.5, "scale": 0.25},
    ),
    # Trained wider than the default threat of .125: robust accuracy is higher at both.
    "digits": Sizes(
        eps=0.15,
        eps_merit=0.125,
        natural_steps=400,
        adversarial_steps=800,
        score_steps=5000,
        ncsnv2_steps=600,
        sigmas=(0.1, 0.2, 0.25, 0.3),
        flips=False,
        unet={"widths": [32, 48], "blocks": [1, 1], "stem_stride": 2, "centre": 0.3, "scale": 0.4},
    ),
}


def sizes(info: DatasetInfo) -> Sizes | None:
    """Those of embedded data: ours as they are written, others' from `patches` and their threat."""
    if info.name in SIZES or not info.embedded:
        return SIZES.get(info.name)
    balls = [ThreatModel.parse(text) for text in (info.threat, *info.threats)]
    eps = next((ball.eps for ball in balls if ball.norm == "linf"), SIZES["patches"].eps)
    return replace(SIZES["patches"], eps=eps, eps_merit=eps, flips=False)


Maker = Callable[[DatasetInfo, Sizes], Recipe]


def flip(x: Tensor) -> Tensor:
    """Mirror each image of [B,C,H,W] left-right and up-down with probability one half each."""
    for dimension in (3, 2):
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        x = torch.where(chosen, x.flip(dimension), x)
    return x
