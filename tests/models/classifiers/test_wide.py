"""Natural classifiers beside `natural`: where they stand, and what add-ons read of them."""

from __future__ import annotations

import pytest
import torch

from bench.api import find_classifier, find_dataset
from bench.errors import BenchError
from bench.models.nets import make
from bench.models.nets.normalised import has_features
from bench.spec import parse_part
from bench.training.recipes import recipe


@pytest.mark.parametrize(("name", "millions"), [("wrn34", 46.2), ("wrn70", 266.8)])
def test_their_recipes_are_the_published_sizes_and_have_the_maps(
    name: str, millions: float
) -> None:
    info = find_dataset("cifar10").info
    assert info
    found = recipe(name, info)
    with torch.device("meta"):
        network = make(found.network, found.arguments)
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.1)
        assert has_features(network)
        maps = network.features(torch.rand(1, 3, 32, 32))
    taps = find_classifier(name).taps("cifar10")
    assert [maps[tap].shape[1] for tap in taps[1:]] == [160 * k for k in (1, 2, 4)] or (
        [maps[tap].shape[1] for tap in taps[1:]] == [256 * k for k in (1, 2, 4)]
    )
    assert taps[-1] == list(maps)[-1]


@pytest.mark.parametrize("text", ["wrn34", "wrn70", "resnet:depth=62,training=trades"])
def test_they_are_for_cifar(text: str) -> None:
    part = parse_part(text)
    plugin = find_classifier(part.name)
    assert plugin.resolve(part, "cifar100")
    with pytest.raises(BenchError, match="for cifar10, cifar100"):
        plugin.resolve(part, "svhn")
    assert not plugin.taps("svhn")
