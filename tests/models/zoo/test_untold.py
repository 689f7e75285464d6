"""What changes a network but is no tensor: used, refused, typed or assumed, never in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.models.nets import make
from bench.models.zoo.networks import assumed, rebuild
from bench.models.zoo.weights import find
from tests.cli.test_cli import bench

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def dm(activation: str) -> nn.Module:
    torch.manual_seed(0)
    arguments = {"depth": 10, "width": 1, "classes": 3, "activation": activation}
    return make("wideresnet-dm", arguments).eval()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def back(path: Path, normalisation: str = "none", activation: str = "") -> nn.Module:
    return rebuild(find("svhn", f"file:{path}"), normalisation, activation)


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_a_bare_state_dict_takes_what_is_typed(activation: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", dm(activation).state_dict())
    made = back(path, activation=activation)
    torch.testing.assert_close(made(X), dm(activation)(X), atol=0, rtol=0)
    assert assumed(made) == ""


def test_untyped_it_is_assumed_and_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", dm("relu").state_dict())
    made = back(path)
    torch.testing.assert_close(made(X), dm("swish")(X), atol=0, rtol=0)
    assert assumed(made) == "activation swish assumed"
    assert assumed(back(path, "cifar10")) == "activation swish assumed"


@pytest.mark.parametrize(
    ("network", "usual"), [("resnet", "imagenet"), ("resnet-projected", "cifar10"), ("vgg", "none")]
)
def test_a_normalisation_that_nobody_typed_is_assumed_and_said(
    network: str, usual: str, tmp_path: Path
) -> None:
    sizes = {"depth": 11, "width": 2, "hidden": 0, "pool": 1} if network == "vgg" else {}
    made = make(network, sizes or {"blocks": [1, 1, 1], "width": 2}).eval()
    path = saved(tmp_path / "a.pt", made.state_dict())
    untyped = rebuild(find("cifar10", f"file:{path}"), "", "relu")
    typed = rebuild(find("cifar10", f"file:{path}"), usual, "relu")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(untyped(x), typed(x), atol=0, rtol=0)
    assert assumed(untyped) == f"normalisation {usual} assumed"
    assert assumed(typed) == ""


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_a_network_that_was_pickled_whole_says_it(activation: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", dm(activation))
    made = back(path)
    torch.testing.assert_close(made(X), dm(activation)(X), atol=0, rtol=0)
    assert assumed(made) == ""
    other = {"relu": "swish", "swish": "relu"}[activation]
    with pytest.raises(BenchError, match=rf"a.pt say activation {activation}, not {other}"):
        back(path, activation=other)


def test_epsilons_of_a_pickled_network_are_its_own(tmp_path: Path) -> None:
    network = dm("swish")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.01
    made = back(saved(tmp_path / "a.pt", nn.DataParallel(network)))
    torch.testing.assert_close(made(X), network(X), atol=0, rtol=0)
    assert not torch.equal(made(X), dm("swish")(X))


def changed(path: str, **attributes: Any) -> nn.Module:
    network = dm("swish")
    for key, value in attributes.items():
        setattr(network.get_submodule(path), key, value)
    return network


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (changed("", activation=nn.LeakyReLU(0.3)), "activation leakyrelu and swish"),
        (changed("layer.0.block.0", activation=nn.ReLU()), "activation relu and swish"),
        (
            changed("init_conv", stride=(2, 2)),
            r"'init_conv' has stride=\(2, 2\), here it has \(1, 1",
        ),
        (changed("batchnorm", eps=-1.0), "'batchnorm' has eps=-1.0"),
        (changed("", mean=torch.zeros(3)), "has a 'mean' of its own"),
        (changed("", std=[0.2, 0.2, 0.2]), "has a 'std' of its own"),
    ],
)
def test_other_differences_are_refused_by_name(
    network: nn.Module, says: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.pt", network)
    with pytest.raises(BenchError, match=rf"a\.pt.*{says}"):
        back(path, "")


def test_a_normalisation_of_its_own_may_be_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", changed("", mean=torch.zeros(3)))
    torch.testing.assert_close(back(path, "none")(X), dm("swish")(X), atol=0, rtol=0)


def test_networks_of_one_activation_take_no_other(tmp_path: Path) -> None:
    network = make("wideresnet", {"depth": 10, "widen": 1, "classes": 3}).eval()
    path = saved(tmp_path / "a.pt", network.state_dict())
    assert assumed(back(path)) == "activation relu assumed"
    assert assumed(back(path, activation="relu")) == ""
    says = "'wideresnet' with activation swish; it is built with relu"
    with pytest.raises(BenchError, match=says):
        back(path, activation="swish")


def test_it_is_part_of_the_name(tmp_path: Path) -> None:
    from bench.api import find_classifier
    from bench.spec import parse_defense

    path = saved(tmp_path / "a.pt", dm("relu").state_dict())
    for tail in ("#activation=relu", "#none,activation=relu", "#activation=relu,none"):
        spec = parse_defense(f"none@file:{path}{tail}")
        assert str(spec).endswith(tail)
        part = find_classifier("file").resolve(spec.classifier, "svhn")
        assert find_classifier("file").weights(dict(part.settings)) == (f"file:{path}",)
    for tail, says in (("#activation=rely", "did you mean 'relu'"), ("#relu", "no normalisation")):
        part = parse_defense(f"none@file:{path}{tail}").classifier
        with pytest.raises(BenchError, match=says):
            find_classifier("file").resolve(part, "svhn")


@pytest.mark.slow
def test_a_record_and_its_board_say_what_was_assumed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = make("wideresnet-dm", {"depth": 10, "width": 1, "classes": 10, "channels": 1})
    path = saved(tmp_path / "a.pt", made.state_dict())
    results = tmp_path / "results"
    ask = ["run", "--dataset", "digits", "--attacks", "clean", "--images", "32", "--workers", "1"]
    for tail in ("", "#activation=relu"):
        typed = [*ask, "--defense", f"none@file:{path}{tail}", "--results", str(results)]
        done = bench(*typed)
        assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in results.rglob("records/**/*.json")]
    told = {r["cell"]["defense"]: r["timing"].get("assumed", "") for r in records}
    layer = "normalisation none assumed"
    assert told[f"none@file:{path}"] == f"activation swish assumed, {layer}"
    assert told[f"none@file:{path}#activation=relu"] == layer
    board = bench("table", "--results", str(results), "--dataset", "digits")
    assert f"none@file:{path}: activation swish assumed" in board.stdout
