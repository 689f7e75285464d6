"""The image model of PixelDefend (Song et al. 2018), by maximum likelihood."""

from __future__ import annotations

from bench.api.images import DatasetInfo
from bench.training import likelihood
from bench.training.fit import Fit
from bench.training.recipes.recipe import Recipe, Sizes, flip

# Patches are 8-bit images and keep all their levels. Digits have 17 before they are enlarged
# (scikit-learn's 0 to 16); rounding them to as many costs little and makes eps .125 two levels.
LEVELS = {"patches": 256, "digits": 17}
STEPS = {"patches": 2400, "digits": 1200}


def pixelcnn(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """PixelCNN++ (Salimans et al. 2017), the paper's class at small width."""
    arguments = {
        "nr_resnet": 1,
        "nr_filters": 24,
        "nr_logistic_mix": 5,
        "input_channels": info.shape[0],
        "levels": LEVELS[info.name],
    }
    return Recipe(
        "pixelcnnpp",
        arguments,
        likelihood.bits,
        Fit(STEPS[info.name], batch=32, lr=4e-3, ema=0.99, clip=1.0),
        likelihood.held_out(sizes.eps_merit),
        flip if sizes.flips else None,
        normalised=False,
    )
