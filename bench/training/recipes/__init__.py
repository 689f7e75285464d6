"""One short recipe per name of weights: network, loss, length, and what counts as good."""

from __future__ import annotations

from collections.abc import Mapping

from bench.data.base import DatasetInfo
from bench.errors import BenchError, unknown
from bench.training.recipes import classifiers, score
from bench.training.recipes.recipe import SIZES, Maker, Recipe

__all__ = ["RECIPES", "Recipe", "recipe"]

RECIPES: Mapping[str, Maker] = {
    "natural": classifiers.natural,
    "madry": classifiers.madry,
    "trades": classifiers.trades,
    "twin": classifiers.twin,
    "cnn": classifiers.cnn,
    "score": score.score,
    "score-ncsnv2": score.score_ncsnv2,
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
