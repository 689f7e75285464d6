"""A network of one size behind images of another: purified there, brought back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.api import find_defense
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.measure import build
from bench.measure.resize import Resized, fitted, resized
from bench.models.nets import make
from bench.models.zoo.weights import save
from bench.spec import Part, parse_part
from tests.models.nets.test_guided import SMALL


class Sized(nn.Identity):
    def __init__(self, side: int | None) -> None:
        super().__init__()
        self.side = side


class Records(Purifier):
    """Remembers what it saw, and returns it."""

    def __init__(self, side: int | None) -> None:
        super().__init__()
        self.network = Network(Sized(side), "n")
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x

    def direction(self, x: Tensor) -> Tensor:
        return x - 0.5


def test_it_is_resized_only_where_the_size_differs() -> None:
    for side, wrapped in ((None, False), (16, False), (20, True)):
        purifier = Records(side)
        purifier.traits = Traits(random=True, direction=True)
        made = fitted(purifier, 16)
        assert isinstance(made, Resized) == wrapped
        assert made.traits == purifier.traits
        x = torch.rand(2, 3, 16, 16)
        assert made(x).shape == x.shape
        assert purifier.seen[0].shape[-1] == (20 if wrapped else 16)
        assert made.direction(x).shape == x.shape


def test_a_flat_image_and_a_ramp_come_back() -> None:
    made = fitted(Records(32), 28)
    flat = torch.full((1, 3, 28, 28), 0.3)
    assert torch.allclose(made(flat), flat)
    ramp = torch.linspace(0, 1, 28).expand(1, 1, 28, 28)
    assert (made(ramp) - ramp)[..., 2:-2].abs().max() < 1e-6  # linear is exact but at borders
    x = torch.rand(1, 3, 28, 28).requires_grad_()
    made(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_guided_diffusion_says_its_size() -> None:
    sizes = {"side": 16, "model_channels": 32, "channel_mult": [1, 2], "attention_levels": [1]}
    network = make("guided", {**sizes, "num_head_channels": 32, "num_res_blocks": 1})
    assert network.side == 16
    assert resized(torch.rand(1, 3, 8, 8), 16).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("name", ["denoise", "diffpure:steps=2,t=2", "gdmp:t=2,steps=1,rounds=1"])
def test_purifiers_of_imagenet_take_it_at_its_size(name: str, tmp_path: Path) -> None:
    network = make("guided", {"side": 16, **SMALL})
    facts = {"network": "guided", "arguments": json.dumps({"side": 16, **SMALL})}
    path = tmp_path / "guided.safetensors"
    save(path, network.state_dict(), {**facts, "dataset": "imagenet"})
    context = build.context("imagenet", weights_override={"guided": path})
    made = build.purifier(name, context)
    assert isinstance(made, Resized)
    assert made.side == 16
    x = torch.rand(2, 3, 224, 224)
    assert made(x).shape == x.shape
    point = x[:1].clone().requires_grad_()
    (g,) = torch.autograd.grad(made(point).sum(), point)
    assert torch.isfinite(g).all()
    assert g.abs().sum() > 0


def test_networks_of_one_data_set_stay_there() -> None:
    for network, dataset in (("guided", "cifar10"), ("score-sde", "patches")):
        plugin = find_defense("denoise")
        with pytest.raises(BenchError, match=rf"network={network} is of .*; on {dataset} it is"):
            plugin.resolve(Part("denoise", (("network", network),)), dataset)
    settings = find_defense("diffpure").resolve(parse_part("diffpure:network=score-sde"), "cifar10")
    assert find_defense("diffpure").weights(dict(settings.settings)) == ("score-sde",)
