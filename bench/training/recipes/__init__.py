"""One short recipe per name of weights: network, loss, length, and what counts as good.

Small networks for embedded data, each in a file of its family; for data that is fetched `full.py`
has the papers', and `compact.py` those of a data set that shares its images with another one.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.api import Base
from bench.api.images import DatasetInfo
from bench.api.training import TRAINED
from bench.errors import BenchError, unknown
from bench.training.names import names
from bench.training.recipes import (
    aid,
    classifiers,
    compact,
    ebm,
    edm,
    full,
    noisy,
    own,
    pixelcnn,
    score,
)
from bench.training.recipes.published import published
from bench.training.recipes.recipe import Maker, Recipe, sizes

__all__ = ["ADD_ONS", "RECIPES", "Recipe", "add_on", "recipe"]

RECIPES: Mapping[str, Maker] = {
    "natural": classifiers.natural,
    "augmix": classifiers.augmix,
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

ADD_ONS: Mapping[str, aid.AddOn] = {**aid.VARIANTS, "aid-code-{classifier}": aid.aid_code}
"""Recipes of weights that belong to a classifier, under the names that defenses give them."""


def recipe(name: str, info: DatasetInfo) -> Recipe:
    """The recipe of the weights `name` on a data set; BenchError when there is none."""
    if name in TRAINED:
        return own.recipe(name, TRAINED[name](info))
    known = names(info)
    if not known:
        published(info)  # refuses a data set that nothing is known of
    if name not in known:
        raise unknown(f"weights of data set '{info.name}'", name, known)
    if info.images_of:
        return compact.COMPACT[name](info, published(info))
    found = sizes(info)
    return RECIPES[name](info, found) if found else full.recipe(name, info)


def add_on(name: str, info: DatasetInfo, base: Base) -> Recipe:
    """The recipe of weights such as `aid-{classifier}` for one classifier on a data set."""
    if name not in ADD_ONS:
        raise unknown("weights", name, ADD_ONS)
    if info.source not in aid.ROWS:
        raise BenchError(f"AID-Purifier has no recipe for data set '{info.name}'")
    return ADD_ONS[name](info, base)
