"""Score networks by denoising score matching (Yoon et al. 2021, Eq. 10)."""

from __future__ import annotations

from dataclasses import replace

from bench.api.images import DatasetInfo
from bench.training import augment, losses, merit
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
    return replace(recipe, network="ncsnv2", arguments=arguments, fit=length)


# The smallest noise level of the augmented forms is a third of the noise that ADP adds, as in the
# paper (.08454 of .25, supplement A.3): smaller ones would mostly see what F changed.
SMALLEST = {"patches": 0.03, "digits": 0.05}


def _around(info: DatasetInfo, sizes: Sizes, how: augment.Augment, way: float) -> Recipe:
    """`score` around augmented images, at half its length."""
    recipe = score(info, sizes)
    loss = augment.denoising(how, way=way, end=SMALLEST[info.name])
    return replace(recipe, loss=loss, fit=replace(recipe.fit, steps=sizes.score_steps // 2))


def score_dct(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`score` around images without their smallest DCT coefficients (supplement C)."""
    return _around(info, sizes, augment.dct, way=1.0)


def score_augmix(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`score` around AugMix images, towards the middle between them and the originals."""
    return _around(info, sizes, augment.augmix, way=0.5)
