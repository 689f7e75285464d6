"""The denoisers of Karras et al. 2022 against the authors' code, and our compact form."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api.purifier import Network
from bench.models.nets import make
from bench.models.nets.edm import Denoiser, EDMPrecond, VPPrecond
from bench.models.nets.songunet import SongUNet, positions
from tests.reference import facts_of, tensors_of

FIXED: tuple[str, ...] = ("label_dim", "model_type", "embedding_type", "channel_mult_noise")
FIXED += ("encoder_type", "decoder_type", "resample_filter")
COMPACT = {"channels": 2, "widths": [4, 6], "blocks": [1, 1], "embedding": 8, "sigma_data": 0.3}


@pytest.fixture(scope="module")
def tiny() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Reference tensors, state dict, and our arguments."""
    config = json.loads(facts_of("edm_tiny")["config"])
    arguments = {k: v for k, v in config.items() if k not in FIXED}
    return tensors_of("edm_tiny"), tensors_of("edm_tiny", "sd/"), arguments


Tiny = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]


def loaded(tiny: Tiny, name: str = "edm-ddpmpp") -> nn.Module:
    _, state, arguments = tiny
    network = make(name, arguments)
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


def close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the largest entry."""
    largest = expected.abs().max().item()
    torch.testing.assert_close(found, expected, atol=1e-4 * largest, rtol=0)


def test_denoised_images(tiny: Tiny) -> None:
    data, network = tiny[0], loaded(tiny)
    x, sigma = data["x"], data["sigma"]
    close(network(x, sigma), data["denoised"])
    close(network(x, sigma.view(-1, 1, 1, 1)), data["denoised"])
    close(network(x, data["scalar_sigma"]), data["denoised_scalar_sigma"])
    close(network(x, sigma, data["augment_labels"]), data["denoised_augmented"])


def test_gradient_in_the_image(tiny: Tiny) -> None:
    data, network = tiny[0], loaded(tiny)
    x = data["x"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((network(x, data["sigma"]) * data["v"]).sum(), x)
    close(gradient, data["vjp"])


def test_vp_wrapper_of_the_same_network(tiny: Tiny) -> None:
    data, network = tiny[0], loaded(tiny, "edm-vp")
    close(network(data["x"], data["sigma"]), data["denoised_vp"])
    # The noise of time 1 is that of the last of the 1000 steps.
    assert isinstance(network, VPPrecond)
    last = network.scales(data["vp_sigma_min_max"][1]).noise
    torch.testing.assert_close(last, torch.tensor(999.0).double(), rtol=1e-6, atol=0)


def test_noise_labels_and_their_embedding(tiny: Tiny) -> None:
    data, network = tiny[0], loaded(tiny)
    assert isinstance(network, EDMPrecond)
    assert isinstance(network.model, SongUNet)
    labels = network.scales(data["sigma"]).noise
    torch.testing.assert_close(labels, data["c_noise"])
    cosines, sines = data["map_noise_raw"].chunk(2, 1)
    found = positions(labels, network.model.width)
    torch.testing.assert_close(found, torch.cat([sines, cosines], 1))


def test_edm_scales_make_unit_variance() -> None:
    """Of the input c_in x and of the target (clean - c_skip x) / c_out (Karras et al., B.6)."""
    torch.manual_seed(0)
    data, noise = 0.7, torch.tensor(0.4, dtype=torch.double)
    clean = data * torch.randn(200_000, dtype=torch.double)
    x = clean + noise * torch.randn_like(clean)
    s = EDMPrecond(nn.Identity(), data).scales(noise)
    assert abs((s.input * x).std() - 1) < 0.01
    assert abs(((clean - s.skip * x) / s.out).std() - 1) < 0.01
    # c_skip x is then the best linear estimate: what is left is uncorrelated with x.
    assert abs(((clean - s.skip * x) * x).mean()) < 5e-3


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_compact_starts_as_the_linear_denoiser(stem_stride: int) -> None:
    network = make("edm", {**COMPACT, "stem_stride": stem_stride})
    x, sigma = torch.randn(3, 2, 16, 16), torch.tensor([0.1, 0.3, 2.0]).view(-1, 1, 1, 1)
    torch.testing.assert_close(network(x, sigma), x * 0.09 / (0.09 + sigma**2))


def random_compact() -> Denoiser:
    torch.manual_seed(0)
    network = make("edm", COMPACT).double()
    assert isinstance(network, Denoiser)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def test_compact_sees_the_noise_level_and_no_other_image() -> None:
    network = random_compact()
    x = torch.randn(4, 2, 16, 16, dtype=torch.double)
    sigma = torch.tensor([0.1, 0.3, 0.5, 2.0]).double().view(-1, 1, 1, 1)
    together = network(x, sigma)
    torch.testing.assert_close(together[1:2], network(x[1:2], torch.tensor(0.3).double()))
    f = network.model
    unit, labels = x[:1] / x[:1].std(), torch.tensor([-0.2, -0.6]).double()
    assert (f(unit, labels[:1]) - f(unit, labels[1:])).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["edm", "edm-ddpmpp"])
def test_second_derivatives(name: str, tiny: Tiny) -> None:
    """ScoreOpt differentiates a gradient of the denoiser."""
    network = random_compact() if name == "edm" else loaded(tiny).double()
    channels = 2 if name == "edm" else 3
    x = torch.randn(1, channels, 16, 16, dtype=torch.double, requires_grad=True)
    v, w = torch.randn_like(x), torch.randn_like(x)

    def slope(point: Tensor) -> Tensor:
        out = (network(point, torch.tensor(0.4).double()) * v).sum()
        return torch.autograd.grad(out, point, create_graph=True)[0]

    (second,) = torch.autograd.grad((slope(x) * w).sum(), x)
    d = torch.randn_like(x)
    ahead, behind = ((slope(x + h * d) * w).sum().item() for h in (1e-5, -1e-5))
    along = (second * d).sum().item()
    assert abs((ahead - behind) / 2e-5 - along) < 1e-3 * abs(along) + 1e-7


def test_through_the_door_of_networks(tiny: Tiny) -> None:
    """Chunks split the noise levels like the images, and a single level is for all."""
    data = tiny[0]
    network = Network(loaded(tiny), "denoiser")
    x = data["x"].repeat(20, 1, 1, 1)
    sigma = data["sigma"].view(-1, 1, 1, 1).repeat(20, 1, 1, 1)
    close(network(x, sigma)[-4:], data["denoised"])
    close(network(x, data["scalar_sigma"])[-4:], data["denoised_scalar_sigma"])
    assert network.forwards == 160
