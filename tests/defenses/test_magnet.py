"""MagNet's networks as printed, what its training does, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import find_dataset
from bench.api.purifier import Defense, Network
from bench.measure import build
from bench.models.nets.magnet import MagNetAutoencoder
from defenses.magnet import MagNet, _loss
from tests.tiny import smooth


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_convolutions_are_the_printed_ones() -> None:
    """Three channels inside: 84 numbers a convolution of 3 to 3 channels, 30 and 28 at the ends."""
    assert count(MagNetAutoencoder(channels=1, pooled=True)) == 30 + 3 * 84 + 28
    assert count(MagNetAutoencoder(channels=3)) == 3 * 84


def test_a_pooled_network_knows_no_detail_finer_than_its_cells() -> None:
    """Its first convolution alone sees single pixels: what averages out there is gone."""
    torch.manual_seed(0)
    net = MagNetAutoencoder(channels=1, pooled=True).double()
    first = net.layers[0]
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:, :, 1, 1] = 1e-3  # so small that the sigmoid is a line
    board = torch.ones(8, 8, dtype=torch.double)
    board[::2, ::2] = board[1::2, 1::2] = -1
    grey = torch.full((1, 1, 8, 8), 0.5, dtype=torch.double)
    fine, shift = ((net(grey + 0.3 * d) - net(grey)).abs().max() for d in (board, 1))
    assert shift > 0
    assert fine < 1e-3 * shift


def test_training_lowers_the_error_of_images() -> None:
    torch.manual_seed(0)
    x = torch.rand(32, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    net = MagNetAutoencoder(channels=1, pooled=True)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    before = (net(x) - x).square().mean().item()
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(_loss(net, x, x))
        optimizer.step()
    assert (net(x) - x).square().mean().item() < before / 4


def test_its_gradient_is_the_autoencoders() -> None:
    torch.manual_seed(0)
    net = MagNetAutoencoder(channels=1, pooled=True).double()
    made = MagNet(Network(net, "autoencoder"))
    defense = Defense(smooth(10, (1, 8, 8)), [made])
    x, v = torch.rand(2, 1, 8, 8, dtype=torch.double), torch.randn(2, 1, 8, 8, dtype=torch.double)
    point = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(defense.purify(point), point, v)
    h = 1e-5
    with torch.no_grad():
        slope = ((net(x + h * v) - net(x - h * v)) * v).sum() / (2 * h)
    torch.testing.assert_close((g * v).sum(), slope, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("dataset", ["patches", "digits"])
def test_shipped_weights_give_images_back_nearer_to_them_than_noise_put_them(dataset: str) -> None:
    info = find_dataset(dataset).info
    assert info is not None
    context = build.context(dataset)
    made = build.purifier("magnet", context)
    x = build.dataset(dataset).images("validation").x[:64]
    torch.manual_seed(0)
    noisy: Tensor = (x + 0.15 * torch.randn_like(x)).clamp(0, 1)
    assert (made(noisy) - x).square().mean() < 0.7 * (noisy - x).square().mean()
