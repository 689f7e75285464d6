"""The energy network: one number per image, its slope, and the slope's own gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.models.nets import make
from bench.models.nets.ebm import EBM, slope


def network(activation: str = "silu") -> EBM:
    torch.manual_seed(0)
    made = EBM(channels=2, width=4, stages=1, activation=activation)
    for parameter in made.parameters():
        parameter.data.mul_(3)
    return made.double().requires_grad_(False)


X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_one_energy_per_image_alone_or_together() -> None:
    net = network()
    together = net(X)
    assert together.shape == (3,)
    torch.testing.assert_close(torch.cat([net(image[None]) for image in X]), together)
    assert EBM()(torch.zeros(2, 3, 32, 32)).shape == (2,)


@pytest.mark.parametrize("activation", ["silu", "leaky"])
def test_slope_is_the_gradient_of_the_energy(activation: str) -> None:
    net = network(activation)
    along = torch.randn_like(X)
    h = 1e-7
    measured = (net(X + h * along) - net(X - h * along)) / (2 * h)
    torch.testing.assert_close(
        (slope(net, X) * along).flatten(1).sum(1), measured, rtol=1e-5, atol=0
    )
    assert not slope(net, X).requires_grad


def hessian_times(net: EBM, v: Tensor) -> Tensor:
    x = X.clone().requires_grad_()
    return torch.autograd.grad(slope(net, x), x, v)[0]


def test_the_smooth_energy_has_curvature_for_autograd() -> None:
    net, v, h = network(), torch.randn_like(X), 1e-6
    measured = (slope(net, X + h * v) - slope(net, X - h * v)) / (2 * h)
    torch.testing.assert_close(hessian_times(net, v), measured, rtol=1e-4, atol=1e-6)
    assert measured.abs().max() > 1e-2


def test_autograd_sees_no_curvature_in_the_published_energy_though_it_bends() -> None:
    """Why `langevin:network=igebm` is not declared exact."""
    net, v = network("leaky"), torch.randn_like(X)
    assert hessian_times(net, v).abs().max() == 0
    assert (slope(net, X + 0.3 * v) - slope(net, X)).abs().max() > 1e-2


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(BenchError, match="activation is one of: leaky, silu"):
        make("ebm", {"activation": "relu"})
