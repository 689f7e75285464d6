"""Parts of a plan: disjoint, complete, balanced, and the same whatever is finished."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.plan.cost import Cost
from bench.plan.slices import Slice
from tests.factories import cell, plan, planned

COSTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=12)


@given(COSTS, st.integers(1, 6), st.integers(1, 40))
def test_parts_are_disjoint_cover_everything_and_differ_by_one_shard(
    amounts: list[float], shards: int, count: int
) -> None:
    costs = [Cost({"classifier": (amount, 0)}) for amount in amounts]
    cells = [planned(replace(cell(), seed=number)) for number in range(len(costs))]
    asked = plan(cells, images=32 * shards)
    parts = [Slice(index, count).of(asked, costs) for index in range(1, count + 1)]
    every = [unit for part in parts for unit in part]
    assert len(every) == len(set(every))
    assert set(every) == {(item.cell.digest, n) for item in cells for n in range(shards)}
    price = {item.cell.digest: cost.total for item, cost in zip(cells, costs, strict=True)}
    sums = [sum(price[digest] for digest, _ in part) for part in parts]
    assert max(sums) - min(sums) <= max(amounts) * (1 + 1e-9)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_texts() -> None:
    assert Slice.parse("2/8") == Slice(2, 8)
    assert Slice.parse("") == Slice(1, 1)


@pytest.mark.parametrize("text", ["2", "0/8", "9/8", "a/b", "1/0", "-1/2", "1/2/3", "/"])
def test_bad_texts_are_one_line(text: str) -> None:
    with pytest.raises(BenchError, match="--shard"):
        Slice.parse(text)
