"""Energy networks for Langevin purification (Hill, Mitchell & Zhu 2021)."""

from __future__ import annotations

from dataclasses import replace

from bench.api.images import DatasetInfo
from bench.training import energy
from bench.training.fit import Fit
from bench.training.recipes.recipe import Recipe, Sizes, flip

NOISE = 0.01
"""Of each Langevin step in [-1,1], the paper's, in training and in the purifier's table."""
MERIT_STEPS = 20
"""Steps of the walk at which the figure of merit is taken."""


def ebm(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """The paper's class with SiLU, so that the walk has an exact gradient, by score matching.

    Contrastive divergence, the paper's training, takes a walk of its own at every step, which is
    many times the cost; `ebm_igebm` is trained by it.
    """
    colour = info.shape[0] == 3
    return Recipe(
        "ebm",
        {
            "channels": info.shape[0],
            "width": 32 if colour else 16,
            "stages": 2,
            "activation": "silu",
        },
        energy.matching(rate=0.2, levels=(0.02, 0.3 if colour else 0.4)),
        Fit(3000, batch=64, lr=4e-3, ema=0.999, clip=1.0),
        energy.usefulness(steps=MERIT_STEPS, noise=NOISE, levels=(0.03, 0.06)),
        flip if sizes.flips else None,
        normalised=False,
    )


def ebm_igebm(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """The paper's activation and its contrastive training from data; a short run."""
    recipe = ebm(info, sizes)
    arguments = dict(recipe.arguments) | {"activation": "leaky", "width": 16}
    loss = energy.contrastive(steps=15, noise=NOISE, spread=0.1, blur=2 * NOISE)
    length = Fit(600, batch=32, lr=1e-3, ema=0.99, clip=1.0)
    return replace(recipe, arguments=arguments, loss=loss, fit=length)
