"""The papers' networks against outputs of the authors' code (tests/golden)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.models.nets import make
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.wideresnet import WideResNet
from bench.models.nets.wideresnet_meliketoy import MelikeToyWideResNet
from tests.reference import facts_of, tensors_of


def golden(file: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Reference tensors, state dict and configuration of a golden file."""
    reference = {k: v for k, v in tensors_of(file).items() if not k.startswith("sd/")}
    return reference, tensors_of(file, "sd/"), json.loads(facts_of(file)["config"])


def loaded(name: str, state: dict[str, Tensor], config: dict[str, Any]) -> nn.Module:
    network = make(name, config)
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("file", ["ncsnv2_tiny", "ncsnv2_tiny_28x28"])
def test_ncsnv2_unit_output_and_gradient(file: str) -> None:
    data, state, config = golden(file)
    network = loaded("ncsnv2", state, config)
    x = data["x"].requires_grad_()
    out = network(x)
    torch.testing.assert_close(out, data["out_unit"], atol=2e-4, rtol=0)
    (gradient,) = torch.autograd.grad((out * data["v"]).sum(), x)
    torch.testing.assert_close(gradient, data["vjp_unit"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("file", ["ncsnv2_tiny", "ncsnv2_tiny_28x28"])
def test_ncsnv2_divided_by_its_noise_level(file: str) -> None:
    data, state, config = golden(file)
    network = loaded("ncsnv2", state, {**config, "unit": False})
    # Outputs reach 300 (division by .01), so the absolute bound is of the undivided output.
    sigma = state["sigmas"][data["labels"]].view(-1, 1, 1, 1)
    out = network(data["x"], data["labels"])
    torch.testing.assert_close(out * sigma, data["out_labels"] * sigma, atol=2e-4, rtol=0)


def test_ncsnv2_activations() -> None:
    data, state, config = golden("ncsnv2_tiny")
    network = loaded("ncsnv2", state, config)
    seen: dict[str, Tensor] = {}
    names = [key.removeprefix("act/") for key in data if key.startswith("act/")]
    for name in names:

        def keep(module: nn.Module, args: tuple[Any, ...], out: Tensor, name: str = name) -> None:
            seen[name] = out

        network.get_submodule(name).register_forward_hook(keep)
    network(data["x"][:1])
    assert names
    for name in names:
        torch.testing.assert_close(seen[name], data[f"act/{name}"], atol=2e-4, rtol=0)


def test_noise_levels_are_the_checkpoints_buffer() -> None:
    _, state, config = golden("ncsnv2_tiny")
    torch.testing.assert_close(NCSNv2(**config).sigmas, state["sigmas"], atol=0, rtol=1e-6)


def test_wideresnet_meliketoy() -> None:
    data, state, config = golden("wrn_tiny_meliketoy")
    network = loaded("wideresnet-meliketoy", state, config)
    assert isinstance(network, MelikeToyWideResNet)
    torch.testing.assert_close(network(data["x_normalised"]), data["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        network.pooled(data["x_normalised"]), data["pooled"], atol=1e-4, rtol=0
    )


def test_wideresnet_robustbench() -> None:
    data, state, config = golden("wrn_tiny_robustbench")
    network = loaded("wideresnet", state, config)
    assert isinstance(network, WideResNet)
    torch.testing.assert_close(network(data["x_raw"]), data["logits"], atol=1e-4, rtol=0)
    last = network.features(data["x_raw"][:1])["block3.0"]
    torch.testing.assert_close(last, data["block3_out"], atol=1e-4, rtol=0)
