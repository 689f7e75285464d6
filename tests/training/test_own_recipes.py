"""Recipes of plug-ins, and what is said where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.api import Named, Training, find_dataset
from bench.api import recipe as declare
from bench.api import training as api_training
from bench.errors import BenchError
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import filled, rebuild
from bench.training import train as training
from bench.training.names import names
from bench.training.needs import Need, needed, recipe_of
from bench.training.recipes import recipe
from tests.training.test_train import TOY, toy

HOW = Training(
    network=lambda: nn.Conv2d(1, 1, 3, padding=1),
    loss=lambda network, x, y: (network(x) - x).square().mean(),
    steps=40,
    lr=0.05,
)


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    declare("mine-of-the-test")(lambda info: HOW)
    yield
    api_training.TRAINED.pop("mine-of-the-test")


def test_a_network_of_ones_own_is_trained_and_comes_back() -> None:
    assert "mine-of-the-test" in names(TOY)
    assert needed(["mine-of-the-test"], "digits") == [Need("mine-of-the-test")]
    weights = training.train("mine-of-the-test", toy())
    assert weights.metadata["steps"] == "40"
    assert json.loads(weights.metadata["merit"])["loss"] < 0.05
    network = filled(nn.Conv2d(1, 1, 3, padding=1), weights)
    x = toy().images("test").x
    assert (network(x) - x).square().mean() < 0.05
    assert not any(p.requires_grad for p in network.parameters())
    with pytest.raises(BenchError, match=r"do not fit Conv2d: 'weight' is \[1, 1, 3, 3\] where"):
        filled(nn.Conv2d(1, 2, 3), weights)


def test_any_checkpoint_fills_a_network_of_ones_own(tmp_path: Path) -> None:
    from bench.models.zoo.weights import find

    made = nn.Linear(3, 2)
    torch.save({"state_dict": made.state_dict(), "epoch": 3}, tmp_path / "net.pt")
    found = filled(nn.Linear(3, 2), find("digits", "x", tmp_path / "net.pt"))
    assert torch.equal(found.weight, made.weight)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"optimizer": "adm"}, "unknown optimizer of recipe 'mine-of-the-test' 'adm'"),
        ({"schedule": "cosin"}, "unknown schedule of recipe .*'cosine'"),
    ],
)
def test_words_that_no_recipe_knows(change: dict[str, Any], says: str) -> None:
    api_training.TRAINED["mine-of-the-test"] = lambda info: replace(HOW, **change)
    with pytest.raises(BenchError, match=says):
        recipe("mine-of-the-test", TOY)


def test_two_recipes_of_one_name_are_refused() -> None:
    with pytest.raises(BenchError, match="'mine-of-the-test' is already registered by tests"):

        @declare("mine-of-the-test")
        def other(info: object) -> Training:
            return HOW


@pytest.mark.parametrize(
    ("text", "dataset", "says"),
    [
        ("adp:network=unet", "cifar10", ("network=ncsnv2 --dataset cifar10;", "cifar10-compact")),
        ("adp:network=unet", "svhn", ("bench train adp:network=ncsnv2 --dataset svhn",)),
    ],
)
def test_a_network_without_a_recipe_names_those_that_have_one(
    text: str, dataset: str, says: tuple[str, ...]
) -> None:
    info = find_dataset(dataset).info
    assert info is not None
    need = needed([text], dataset)[0]
    with pytest.raises(BenchError, match=f"reads the weights 'score'.*no recipe on {dataset}") as e:
        recipe_of(need, info)
    assert all(part in str(e.value) for part in says)
    assert recipe_of(needed(["adp:network=ncsnv2"], dataset)[0], info).network == "ncsnv2"


def test_missing_weights_never_send_to_a_command_that_makes_others() -> None:
    from bench.models.zoo.entries import how_to_get

    assert how_to_get("cifar10", "score") == "take compact networks: --dataset cifar10-compact"
    assert "bench train score --dataset patches" in how_to_get("patches", "score")


def test_a_network_of_the_project_is_asked_for_by_name_and_comes_back_standardised() -> None:
    api_training.TRAINED["mine-of-the-test"] = lambda info: replace(
        HOW,
        network=Named("cnn", {"width": 4, "classes": 10, "channels": 1}),
        loss=lambda network, x, y: nn.functional.cross_entropy(network(x), y),
        steps=2,
    )
    weights = training.train("mine-of-the-test", toy())
    assert weights.metadata["network"] == "cnn"
    assert set(json.loads(weights.metadata["normalisation"])) == {"mean", "std"}
    made = rebuild(weights)
    assert isinstance(made, Normalised)
    assert made(toy().images("test").x).shape[1] == 10
