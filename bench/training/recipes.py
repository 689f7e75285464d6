"""One short recipe per name of weights: network, loss, length, and what counts as good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.base import DatasetInfo
from bench.errors import BenchError, unknown
from bench.training import losses, merit
from bench.training.fit import Fit, Loss


@dataclass(frozen=True)
class Recipe:
    """All that training needs besides data and seed.

    `merit(network, validation images, labels)` gives the figures stored with the weights;
    `seed_offset` tells apart recipes that differ in nothing but their seed.
    """

    network: str
    arguments: Mapping[str, Any]
    loss: Loss
    fit: Fit
    merit: Callable[[nn.Module, Tensor, Tensor], dict[str, float]]
    augment: Callable[[Tensor], Tensor] | None = None
    normalised: bool = True
    seed_offset: int = 0


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
        unet={
            "widths": [32, 48],
            "blocks": [1, 1],
            "stem_stride": 2,
            "centre": 0.3,
            "scale": 0.4,
        },
    ),
}

Maker = Callable[[DatasetInfo, Sizes], Recipe]


def _wideresnet(info: DatasetInfo) -> dict[str, Any]:
    return {
        "depth": 10,
        "widen": 1,
        "classes": len(info.classes),
        "channels": info.shape[0],
        "stem_stride": 2,
    }


def flip(x: Tensor) -> Tensor:
    """Mirror each image of [B,C,H,W] left-right and up-down with probability one half each."""
    for dimension in (3, 2):
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        x = torch.where(chosen, x.flip(dimension), x)
    return x


def natural(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """WideResNet (Zagoruyko & Komodakis 2016) trained on clean images."""
    return Recipe(
        "wideresnet",
        _wideresnet(info),
        losses.natural,
        Fit(sizes.natural_steps, lr=5e-3, optimizer="adamw", weight_decay=1e-2),
        merit.accuracy(sizes.eps_merit),
        flip if sizes.flips else None,
    )


def twin(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`natural` from another seed: the source of transfer attacks of the same architecture."""
    recipe = natural(info, sizes)
    return Recipe(**(vars(recipe) | {"seed_offset": 1}))


def cnn(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """A small CNN trained on clean images: the source of transfer attacks from elsewhere."""
    recipe = natural(info, sizes)
    arguments = {"width": 32, "classes": len(info.classes), "channels": info.shape[0]}
    return Recipe(**(vars(recipe) | {"network": "cnn", "arguments": arguments}))


def madry(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """Adversarial training against linf PGD (Madry et al. 2018)."""
    return Recipe(
        "wideresnet",
        _wideresnet(info),
        losses.madry(sizes.eps),
        Fit(sizes.adversarial_steps, lr=5e-3, optimizer="adamw", weight_decay=1e-2, ema=0.99),
        merit.accuracy(sizes.eps_merit),
        flip if sizes.flips else None,
    )


def trades(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """TRADES with beta 6 (Zhang et al. 2019)."""
    return Recipe(**(vars(madry(info, sizes)) | {"loss": losses.trades(sizes.eps, beta=6.0)}))


def score(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """Compact U-Net score network, denoising score matching (Yoon et al. 2021, Eq. 10)."""
    return Recipe(
        "unet",
        {"channels": info.shape[0], **sizes.unet},
        losses.denoising(),
        Fit(sizes.score_steps, lr=4e-3, ema=0.999, clip=1.0),
        merit.denoising(sizes.sigmas),
        flip if sizes.flips else None,
        normalised=False,
    )


def score_ncsnv2(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """NCSNv2 (Song & Ermon 2020) at small width in ADP's undivided form; a short run."""
    arguments = {
        "ngf": 8,
        "num_classes": 20,
        "sigma_begin": 0.5,
        "sigma_end": 0.01,
        "image_size": info.shape[1],
        "channels": info.shape[0],
        "unit": True,
    }
    recipe = score(info, sizes)
    length = Fit(sizes.ncsnv2_steps, batch=64, lr=2e-3, ema=0.99, clip=1.0)
    return Recipe(**(vars(recipe) | {"network": "ncsnv2", "arguments": arguments, "fit": length}))


RECIPES: Mapping[str, Maker] = {
    "natural": natural,
    "madry": madry,
    "trades": trades,
    "twin": twin,
    "cnn": cnn,
    "score": score,
    "score-ncsnv2": score_ncsnv2,
}


def recipe(name: str, info: DatasetInfo) -> Recipe:
    """The recipe of the weights `name` on a data set; BenchError when there is none."""
    if name not in RECIPES:
        raise unknown("weights", name, RECIPES)
    if info.name not in SIZES:
        raise BenchError(
            f"there is no training recipe for data set '{info.name}' (there is for: "
            f"{', '.join(sorted(SIZES))}); put the published weights in place of it"
        )
    return RECIPES[name](info, SIZES[info.name])
