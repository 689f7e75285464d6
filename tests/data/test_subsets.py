from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from bench.data.digits import digits
from bench.data.make_subsets import SOURCES, digest, make_subset
from bench.data.patches import patches
from bench.data.subsets import load_subset, stratified_order, subset_names
from bench.errors import BenchError
from bench.results import SHARD

DATASETS = {"patches": patches(), "digits": digits()}
ALL = [(dataset, name) for dataset in DATASETS for name in SOURCES]


@pytest.mark.parametrize(("dataset", "name"), ALL)
def test_committed_subset_is_what_the_script_makes(dataset: str, name: str) -> None:
    committed = load_subset(dataset, name)
    assert committed == make_subset(DATASETS[dataset], name, SOURCES[name])
    images = DATASETS[dataset].images(committed.split)
    assert committed.label == tuple(images.y[list(committed.index)].tolist())
    assert committed.block == tuple(images.block[list(committed.index)].tolist())
    assert committed.sha256 == digest(images, committed.index)


@pytest.mark.parametrize(("dataset", "name"), ALL)
def test_whole_split_in_whole_shards(dataset: str, name: str) -> None:
    subset = load_subset(dataset, name)
    assert sorted(subset.index) == list(range(len(subset)))
    assert len(subset) % SHARD == 0


@pytest.mark.parametrize(("dataset", "name"), ALL)
def test_every_prefix_is_stratified(dataset: str, name: str) -> None:
    subset = load_subset(dataset, name)
    total = Counter(subset.label)
    seen: Counter[int] = Counter()
    for n, label in enumerate(subset.label, 1):
        seen[label] += 1
        assert all(abs(seen[c] - total[c] * n / len(subset)) < 1 for c in total)


def test_patches_shards_are_balanced_and_spread() -> None:
    subset = load_subset("patches", "512")
    for start in range(0, len(subset), SHARD):
        shard = slice(start, start + SHARD)
        assert set(Counter(subset.label[shard]).values()) == {4}
    assert len(set(subset.block[:SHARD])) == SHARD


def test_order_with_unequal_classes_uses_every_image_once() -> None:
    label = [0] * 7 + [1] * 2 + [2]
    order = stratified_order(label, [0] * 10, seed=1)
    assert sorted(order) == list(range(10))


def test_unknown_subset_names_the_nearest() -> None:
    assert subset_names("patches") == ("512", "validation")
    with pytest.raises(BenchError, match=r"unknown subset .* '51'; did you mean '512'"):
        load_subset("patches", "51")
    with pytest.raises(BenchError, match="known: none"):
        load_subset("nothing", "512")


def test_reading_a_subset_never_imports_torch() -> None:
    code = (
        "import sys; from bench.data.subsets import load_subset; import bench.data.patches, "
        "bench.data.digits, bench.data.corruptions; load_subset('patches', '512'); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
