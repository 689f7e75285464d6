"""The names that can be trained are those of the recipes, and a wrong one is refused by itself."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.training import names
from bench.training.recipes import ADD_ONS, RECIPES
from bench.training.recipes.compact import COMPACT
from bench.training.recipes.full import FULL
from bench.training.recipes.published import PUBLISHED
from bench.training.recipes.recipe import SIZES

FINE = "all,score,adp@madry,aid@madry,aid-madry,aid-code@natural"


def test_each_name_has_a_recipe() -> None:
    assert tuple(RECIPES) == names.EMBEDDED
    assert tuple(COMPACT) == names.COMPACT
    assert tuple(FULL) == names.FULL
    assert tuple(name for name in ADD_ONS if name in names.ADD_ONS) == names.ADD_ONS
    assert tuple(SIZES) == names.SIZED
    assert tuple(PUBLISHED) == names.PRINTED
    assert set(names.CALLED.values()) <= set(FULL)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "nothing to train"),
        ("adpp", "unknown defense or weights 'adpp'; did you mean 'adp'"),
        ("adp:sigmaa=1", "no setting 'sigmaa'"),
        ("score@madry", "'score' is the name of weights"),
        ("adp@nobody", "unknown classifier 'nobody'"),
        ("aid@nobody", "unknown classifier 'nobody'"),
    ],
)
def test_a_spec_of_nothing_is_refused(spec: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        names.require([f"{FINE},{spec}" if spec else ","], "digits")
