from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bench.api import find_dataset
from bench.api.ball import ThreatModel
from bench.api.images import SPLITS, Dataset
from bench.data.digits import digits
from bench.data.patches import patches
from bench.errors import BenchError

SIZES = {"patches": (6400, 512, 512), "digits": (1029, 256, 512)}


@pytest.fixture(params=[patches, digits], ids=["patches", "digits"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    made = request.param()
    assert isinstance(made, Dataset)
    return made


def test_images_have_the_declared_form(dataset: Dataset) -> None:
    for split, size in zip(SPLITS, SIZES[dataset.info.name], strict=True):
        images = dataset.images(split)
        assert len(images) == size
        assert images.x.shape == (size, *dataset.info.shape)
        assert images.x.dtype == torch.float32
        assert images.y.dtype == images.block.dtype == torch.int64
        assert images.y.shape == images.block.shape == (size,)
        assert images.x.min() >= 0
        assert images.x.max() <= 1
        assert torch.equal((images.x * 255).round() / 255, images.x)
        assert set(images.y.tolist()) == set(range(len(dataset.info.classes)))


def test_blocks_and_images_of_the_splits_are_disjoint(dataset: Dataset) -> None:
    parts = [dataset.images(split) for split in SPLITS]
    blocks = [set(part.block.tolist()) for part in parts]
    assert sum(map(len, blocks)) == len(set.union(*blocks))
    pixels = torch.cat([part.x for part in parts]).flatten(1)
    assert len(torch.unique(pixels, dim=0)) == len(pixels)


def test_every_class_has_its_share(dataset: Dataset) -> None:
    whole = torch.cat([dataset.images(split).y for split in SPLITS]).bincount().double()
    for split in SPLITS:
        counts = dataset.images(split).y.bincount()
        share = whole * len(dataset.images(split)) / whole.sum()
        assert (counts - share).abs().max() <= 1


def test_images_are_read_once(dataset: Dataset) -> None:
    assert dataset.read("test") is type(dataset)(dataset.info, dataset.load).read("test")


def test_whoever_writes_into_a_whole_split_writes_into_a_copy(dataset: Dataset) -> None:
    before = dataset.take("test", [0]).x
    dataset.images("test").x.zero_()
    assert torch.equal(dataset.take("test", [0]).x, before)


def test_unknown_split_names_the_nearest(dataset: Dataset) -> None:
    with pytest.raises(BenchError, match="did you mean 'test'"):
        dataset.images("tests")


def test_registered_facts_are_usable(dataset: Dataset) -> None:
    info = dataset.info
    assert find_dataset(info.name).info is info
    for threat in (info.threat, *info.threats):
        ThreatModel.parse(threat)


def test_patches_are_contrast_normalised() -> None:
    x = patches().images("train").x.double()
    free = ((x > 0) & (x < 1)).flatten(1).all(1)  # clipping moves the moments
    centred = x[free] - x[free].mean((2, 3), keepdim=True)
    assert (x[free].mean((2, 3)) - 0.5).abs().max() < 1 / 255
    rms = centred.square().mean((1, 2, 3)).sqrt()
    # Windows of less contrast than the floor of the gain stay below .18.
    assert rms.max() < 0.18 + 1 / 255
    assert rms.median() > 0.175


def test_grey_photographs_fill_three_equal_channels() -> None:
    images = patches().images("test")
    grey = images.x[images.y == patches().info.classes.index("grass")]
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_test_patches_are_spread_over_many_blocks() -> None:
    images = patches().images("test")
    for label in range(8):
        counts = Counter(images.block[images.y == label].tolist())
        assert len(counts) >= 11
        assert max(counts.values()) <= 8


def test_digits_are_the_originals_enlarged() -> None:
    # Bilinear enlargement by two keeps the corners; the originals have 17 levels.
    corner = digits().images("train").x[:, 0, ::15, ::15] * 16
    assert (corner - corner.round()).abs().max() < 16 * 0.5 / 255 + 1e-6
    raw = load_digits()
    originals = raw.images[np.sort(digits().images("test").block.numpy())]
    mean = digits().images("test").x.mean((1, 2, 3)).numpy()
    # Away from the border every original pixel has the same total weight.
    assert np.abs(mean - originals.mean((1, 2)) / 16).max() < 0.002
