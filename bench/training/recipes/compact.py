"""Compact networks for images that are fetched: what two cores train in an evening and can attack.

One recipe per name of weights, as in `full.py`, of which each keeps the data set's facts (attack,
crop, mirror, noise of `noisy`); sizes and lengths are ours. `bench train NAME --amp` trains them in
bfloat16, for half the time where a CPU has it, and their files hold 16 bits a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.api.images import DatasetInfo
from bench.training import augment, avmixup, losses, merit
from bench.training.fit import Fit, Loss
from bench.training.recipes import edm, full, noisy
from bench.training.recipes.classifiers import with_cnn
from bench.training.recipes.full import SIGMA, SIGMAS, Full, by_parts
from bench.training.recipes.published import Paper
from bench.training.recipes.recipe import Recipe

UNET: Mapping[str, Any] = {"widths": [32, 64, 128], "blocks": [1, 1, 2], "stem_stride": 2}
EPOCHS = 20
"""Of every network here but the adversarially trained ones."""
ADVERSARIAL_EPOCHS = 14
"""A step of these costs 1.6 to 5 times as much."""


def natural(info: DatasetInfo, data: Paper) -> Recipe:
    """A network that pools early, on clean images."""
    return Recipe(
        "earlypool",
        {"widths": [64, 128, 256], "classes": len(info.classes), "channels": info.shape[0]},
        losses.smoothed(0.1),
        Fit(data.steps(EPOCHS, 128), lr=0.15, optimizer="sgd", weight_decay=8e-4, ema=0.998),
        by_parts(merit.accuracy(data.eps)),
        data.augment,
        half=True,
    )


def twin(info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` from another seed: the source of transfer attacks of the same architecture."""
    return replace(natural(info, data), seed_offset=1)


def cnn(info: DatasetInfo, data: Paper) -> Recipe:
    """The plain CNN: the source of transfer attacks from elsewhere."""
    return with_cnn(natural(info, data), info)


def augmix_classifier(info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` whose predictions AugMix's images (Hendrycks et al. 2020) shall not change."""
    return replace(natural(info, data), loss=losses.consistent(augment.augmix))


def noisy_classifier(info: DatasetInfo, data: Paper) -> Recipe:
    """`natural` on images with Gaussian noise (Cohen et al. 2019)."""
    figures = by_parts(noisy.both_accuracies(SIGMA, data.eps))
    return replace(natural(info, data), loss=noisy.augmented(SIGMA), merit=figures)


def _adversarial(info: DatasetInfo, data: Paper, loss: Loss) -> Recipe:
    """Half the weight decay: adversarial training overfits no network of this size."""
    recipe = natural(info, data)
    fit = replace(recipe.fit, steps=data.steps(ADVERSARIAL_EPOCHS, 128), weight_decay=4e-4)
    return replace(recipe, loss=loss, fit=fit)


def madry(info: DatasetInfo, data: Paper) -> Recipe:
    """Adversarial training by one long step from much noise, for a fifth of the usual cost."""
    return _adversarial(info, data, losses.one_step(data.eps))


def trades(info: DatasetInfo, data: Paper) -> Recipe:
    """TRADES with beta 6 (Zhang et al. 2019), with 2 steps in place of 10."""
    return _adversarial(info, data, losses.trades(data.eps, beta=6.0, steps=2))


def lee(info: DatasetInfo, data: Paper) -> Recipe:
    """AVmixup (Lee et al. 2020), with 2 steps in place of 10."""
    return _adversarial(info, data, avmixup.lee(data.eps, steps=2, size=0.875))


def score(info: DatasetInfo, data: Paper) -> Recipe:
    """A U-Net that begins at half the resolution (Yoon et al. 2021, Eq. 10)."""
    return Recipe(
        "unet",
        {"channels": info.shape[0], **UNET},
        losses.denoising(),
        Fit(data.steps(EPOCHS, 128), ema=0.999, clip=1.0),
        by_parts(merit.denoising(SIGMAS)),
        data.flips,
        normalised=False,
        half=True,
    )


def _around(info: DatasetInfo, data: Paper, how: augment.Augment, way: float) -> Recipe:
    """`score` around augmented images, whose smallest noise is the paper's (supplement A.3)."""
    loss = augment.denoising(how, way=way, end=0.08454)
    return replace(score(info, data), loss=loss)


def score_dct(info: DatasetInfo, data: Paper) -> Recipe:
    """Around images without their smallest DCT coefficients (supplement C)."""
    return _around(info, data, augment.dct, way=1.0)


def score_augmix(info: DatasetInfo, data: Paper) -> Recipe:
    """Around AugMix images (supplement C)."""
    return _around(info, data, augment.augmix, way=0.5)


def denoiser(info: DatasetInfo, data: Paper) -> Recipe:
    """The same U-Net as a denoiser that knows its noise (Karras et al. 2022)."""
    return replace(
        score(info, data),
        network="edm",
        arguments={"channels": info.shape[0], **UNET},
        loss=edm.denoising(0.5),
        merit=by_parts(edm.left(SIGMAS)),
    )


def ebm(info: DatasetInfo, data: Paper) -> Recipe:
    """The energy of Hill, Mitchell & Zhu 2021 with SiLU, by score matching, for half as long."""
    recipe = full.ebm(info, data)
    fit = replace(recipe.fit, steps=data.steps(EPOCHS // 2, 128), lr=4e-3)
    return replace(recipe, fit=fit, half=True)


COMPACT: Mapping[str, Full] = {
    "natural": natural,
    "augmix": augmix_classifier,
    "madry": madry,
    "trades": trades,
    "lee": lee,
    "twin": twin,
    "cnn": cnn,
    "noisy": noisy_classifier,
    "score": score,
    "score-dct": score_dct,
    "score-augmix": score_augmix,
    "edm": denoiser,
    "ebm": ebm,
}
