"""Classifiers: natural and adversarial training (Zagoruyko & Komodakis 2016; Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.api.images import DatasetInfo
from bench.training import augment, avmixup, losses, merit
from bench.training.fit import Fit
from bench.training.recipes.recipe import Recipe, Sizes, flip


def wideresnet(info: DatasetInfo) -> dict[str, Any]:
    """Arguments of the embedded data's small WideResNet."""
    return {
        "depth": 10,
        "widen": 1,
        "classes": len(info.classes),
        "channels": info.shape[0],
        "stem_stride": 2,
    }


def natural(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """WideResNet (Zagoruyko & Komodakis 2016) trained on clean images."""
    return Recipe(
        "wideresnet",
        wideresnet(info),
        losses.natural,
        Fit(sizes.natural_steps, lr=5e-3, optimizer="adamw", weight_decay=1e-2),
        merit.accuracy(sizes.eps_merit),
        flip if sizes.flips else None,
    )


def twin(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`natural` from another seed: the source of transfer attacks of the same architecture."""
    return replace(natural(info, sizes), seed_offset=1)


def cnn(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """A small CNN trained on clean images: the source of transfer attacks from elsewhere."""
    return with_cnn(natural(info, sizes), info)


def with_cnn(recipe: Recipe, info: DatasetInfo) -> Recipe:
    """The recipe with the small CNN as its network; its size is ours."""
    arguments = {"width": 32, "classes": len(info.classes), "channels": info.shape[0]}
    return replace(recipe, network="cnn", arguments=arguments)


def augmix(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`natural` whose predictions AugMix's images (Hendrycks et al. 2020) shall not change."""
    return replace(natural(info, sizes), loss=losses.consistent(augment.augmix), half=True)


def madry(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """Adversarial training against linf PGD (Madry et al. 2018)."""
    recipe = natural(info, sizes)
    fit = replace(recipe.fit, steps=sizes.adversarial_steps, ema=0.99)
    return replace(recipe, loss=losses.madry(sizes.eps), fit=fit)


def trades(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """TRADES with beta 6 (Zhang et al. 2019)."""
    return replace(madry(info, sizes), loss=losses.trades(sizes.eps, beta=6.0))


def lee(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """AVmixup (Lee et al. 2020); 5 longer steps of PGD instead of 10, like `madry` here."""
    return replace(madry(info, sizes), loss=avmixup.lee(sizes.eps, steps=5, size=0.35))
