from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib.resources import files

import pytest
import torch

from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.cifar import CIFAR10
from bench.data.digits import digits
from bench.data.make_subsets import (
    FETCHED,
    SOURCES,
    digest,
    draw,
    drawn_json,
    drawn_subsets,
    make_subset,
)
from bench.data.patches import patches
from bench.data.subsets import in_order, load_subset, stratified_order, subset_names
from bench.errors import BenchError
from bench.results.store import SHARD
from tests.reference import tensors_of

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


# --- data sets that are fetched: drawn by rule, put in order when they are read ------------------

FETCHED_NAMES = [info.name for info in FETCHED]


@pytest.mark.parametrize("info", FETCHED, ids=FETCHED_NAMES)
def test_committed_draws_are_what_the_script_makes(info: DatasetInfo) -> None:
    made = drawn_subsets(info)
    assert set(subset_names(info.name)) == set(made)
    assert {name: load_subset(info.name, name) for name in made} == made
    text = (files("bench.data") / "subsets" / f"{info.name}.json").read_text(encoding="utf-8")
    assert text == drawn_json(info)


@pytest.mark.parametrize(
    ("dataset", "name", "golden", "size"),
    [
        ("cifar10", "512", "cifar_seed0_n512", 512),
        ("cifar100", "512", "cifar_seed0_n512", 512),
        ("imagenet", "512", "imagenet_seed0_n512", 512),
        ("imagenet", "diffpure-0", "imagenet_seed0_n16", 16),
        ("cifar10", "diffpure-0", "cifar_seed0_n64", 64),
        ("cifar10", "diffpure-7", "cifar_seed7_n64", 64),
        ("cifar10", "diffpure-bpda-0", "cifar_seed0_n200", 200),
    ],
)
def test_draws_are_those_of_the_papers_code(
    dataset: str, name: str, golden: str, size: int
) -> None:
    subset = load_subset(dataset, name)
    assert subset.split == "test"
    assert list(subset.index) == tensors_of("subsets")[golden].tolist()
    assert len(subset) == size


def test_the_rule_of_the_golden_draws() -> None:
    for key, drawn in tensors_of("subsets").items():
        kind, seed, size = key.split("_")
        number = 10_000 if kind == "cifar" else 50_000
        assert draw(number, int(size[1:]), int(seed[4:])) == tuple(drawn.tolist())


def test_names_that_say_what_they_hold() -> None:
    assert load_subset("cifar10", "first-1000").index == tuple(range(1000))
    assert load_subset("svhn", "test").index == tuple(range(26_032))
    assert load_subset("cifar10", "every-20").index == tuple(range(0, 10_000, 20))
    assert load_subset("cifar10", "test").label == ()
    with pytest.raises(BenchError, match="10,000 test images"):
        load_subset("cifar10", "first-10001")
    with pytest.raises(BenchError, match=r"did you mean 'diffpure-0'.*first-N"):
        load_subset("cifar10", "difpure-0")
    with pytest.raises(BenchError, match="unknown subset"):
        load_subset("cifar10", "first-0")


def test_a_drawn_subset_is_put_in_stratified_order_by_the_labels() -> None:
    label = torch.arange(10_000) ** 2 % 10
    dataset = Dataset(CIFAR10, lambda split: Rows(label, torch.arange(10_000), lambda rows: label))
    drawn = load_subset("cifar10", "512")
    subset = in_order(drawn, dataset)
    assert sorted(subset.index) == sorted(drawn.index)
    assert list(subset.label) == label[list(subset.index)].tolist()
    assert subset.block == subset.index
    total = Counter(subset.label)
    seen: Counter[int] = Counter()
    for n, found in enumerate(subset.label, 1):
        seen[found] += 1
        assert all(abs(seen[c] - total[c] * n / 512) < 1 for c in total)
    assert in_order(subset, dataset) is subset


def test_a_copy_that_is_too_small_for_a_subset() -> None:
    labels = torch.zeros(40).long()
    few = Dataset(CIFAR10, lambda split: Rows(labels, torch.arange(40), torch.tensor))
    with pytest.raises(BenchError, match=r"needs test image 99\d\d, the copy here has 40"):
        in_order(load_subset("cifar10", "512"), few)
