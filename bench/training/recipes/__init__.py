"""One short recipe per name of weights: network, loss, length, and what counts as good."""

from __future__ import annotations

from collections.abc import Mapping

from bench.data.base import DatasetInfo
from bench.errors import BenchError, unknown
from bench.registry import Base
from bench.training.recipes import aid, classifiers, ebm, edm, noisy, pixelcnn, score
from bench.training.recipes.recipe import SIZES, Maker, Recipe, Sizes

__all__ = ["ADD_ONS", "RECIPES", "Recipe", "add_on", "recipe"]

RECIPES: Mapping[str, Maker] = {
    "natural": classifiers.natural,
    "madry": classifiers.madry,
    "trades": classifiers.trades,
    "lee": classifiers.lee,
    "twin": classifiers.twin,
    "cnn": classifiers.cnn,
    "score": score.score,
    "score-ncsnv2": score.score_ncsnv2,
    "score-dct": score.score_dct,
    "score-augmix": score.score_augmix,
    "noisy": noisy.noisy,
    "edm": edm.edm,
    "edm-ddpmpp": edm.edm_ddpmpp,
    "ebm": ebm.ebm,
    "ebm-igebm": ebm.ebm_igebm,
    "pixelcnn": pixelcnn.pixelcnn,
}

ADD_ONS: Mapping[str, aid.AddOn] = {
    "aid-{classifier}": aid.aid,
    "aid-code-{classifier}": aid.aid_code,
}
"""Recipes of weights that belong to a classifier, under the names that defenses give them."""


def recipe(name: str, info: DatasetInfo) -> Recipe:
    """The recipe of the weights `name` on a data set; BenchError when there is none."""
    if name not in RECIPES:
        raise unknown("weights", name, RECIPES)
    return RECIPES[name](info, _sizes(info))


def add_on(name: str, info: DatasetInfo, base: Base) -> Recipe:
    """The recipe of weights such as `aid-{classifier}` for one classifier on a data set."""
    if name not in ADD_ONS:
        raise unknown("weights", name, ADD_ONS)
    return ADD_ONS[name](info, _sizes(info), base)


def _sizes(info: DatasetInfo) -> Sizes:
    if info.name not in SIZES:
        raise BenchError(
            f"there is no training recipe for data set '{info.name}' (there is for: "
            f"{', '.join(sorted(SIZES))}); put the published weights in place of it"
        )
    return SIZES[info.name]
