"""Score networks by denoising score matching (Yoon et al. 2021, Eq. 10)."""

from __future__ import annotations

from bench.data.base import DatasetInfo
from bench.training import losses, merit
from bench.training.fit import Fit
from bench.training.recipes.recipe import Recipe, Sizes, flip


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
