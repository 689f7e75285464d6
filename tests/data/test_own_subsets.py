"""Subsets of data sets of one's own: by name alone, and a stratified 512 from the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import api
from bench.api import register
from bench.api.images import Dataset
from bench.api.own_data import from_npz
from bench.data import subsets
from bench.data.subsets import in_order, load_subset
from bench.errors import BenchError


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Dataset]:
    number = np.array([1200, 500, 100])
    y = np.repeat(np.arange(3), number)
    row = np.arange(len(y))
    x = np.stack([row >> 8, row & 255] * 2, 1).astype(np.uint8).reshape(-1, 2, 2)
    np.savez(tmp_path / "a.npz", x_test=x, y_test=y)
    data = from_npz("own-of-the-test", tmp_path / "a.npz", threat="linf:8/255")
    api.dataset("own-of-the-test", info=data.info)(lambda: data)
    yield data
    register.PLUGINS["dataset"].pop("own-of-the-test")
    subsets.load_subset.cache_clear()
    subsets._drawn.cache_clear()


def test_a_stratified_subset_follows_from_the_labels(mine: Dataset) -> None:
    assert mine.info.subset == "512"
    subset = load_subset("own-of-the-test", "512")
    assert len(subset) == len(set(subset.index)) == 512
    ordered = in_order(subset, mine)
    counted = Counter(ordered.label)
    assert all(abs(counted[c] - n * 512 / 1800) < 1 for c, n in enumerate((1200, 500, 100)))
    seen: Counter[int] = Counter()
    for n, label in enumerate(ordered.label, 1):
        seen[label] += 1
        assert all(abs(seen[c] - counted[c] * n / 512) < 1 for c in counted)
    assert load_subset("own-of-the-test", "test").index == tuple(range(1800))
    assert load_subset("own-of-the-test", "first-7").index == tuple(range(7))


def test_where_there_are_fewer_images_there_is_no_such_subset(
    mine: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(mine.info, "published", 500)
    with pytest.raises(BenchError, match=r"unknown subset .*'512'.*known: every-N, first-N, test"):
        load_subset("own-of-the-test", "512")
