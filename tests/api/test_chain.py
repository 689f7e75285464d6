"""`chain` against plain autograd: the same numbers, with the memory of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.api.chain import Step, chain
from bench.api.purifier import Network, chunk_size


def network(name: str = "net") -> Network:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 2, 3, padding=1))
    return Network(net.double(), name)


def noisy_steps(net: Network, noise: Tensor) -> list[Step]:
    """x -> x + net(x) / 5 + noise_k with noise [steps,B,...]: one step per draw."""

    def step(drawn: Tensor) -> Step:
        return lambda x, rows: x + net(x) / 5 + drawn[rows]

    return [step(drawn) for drawn in noise]


def energy_step(x: Tensor, rows: slice) -> Tensor:
    """One step down sum(x^4), itself an autograd gradient."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(point.pow(4).sum(), point, create_graph=keep)
    return x - 0.05 * gradient


def gradient(run: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    return torch.autograd.grad(run(point), point, v)[0]


def test_output_and_gradient_are_those_of_plain_autograd() -> None:
    net, x = network(), torch.randn(70, 2, 5, 5, dtype=torch.double)
    steps = noisy_steps(net, torch.randn(4, *x.shape, dtype=torch.double))
    rows = slice(0, len(x))

    def plain(z: Tensor) -> Tensor:
        for step in steps:
            z = step(z, rows)
        return z

    v = torch.randn_like(x)
    torch.testing.assert_close(chain(steps, x), plain(x), rtol=0, atol=0)
    mine = gradient(lambda z: chain(steps, z), x, v)
    torch.testing.assert_close(mine, gradient(plain, x, v), rtol=0, atol=1e-12)


def test_a_step_may_differentiate_itself() -> None:
    """x -> x - x^3 / 5, so each step multiplies the gradient by 1 - 3 x^2 / 5."""
    x = torch.rand(40, 1, 3, 3, dtype=torch.double)
    expected, z = torch.ones_like(x), x
    for _ in range(3):
        expected, z = expected * (1 - 0.6 * z**2), z - 0.2 * z**3
    torch.testing.assert_close(chain([energy_step] * 3, x), z)
    mine = gradient(lambda z: chain([energy_step] * 3, z), x, torch.ones_like(x))
    torch.testing.assert_close(mine, expected)


def test_only_states_are_stored_and_each_step_is_computed_once_more() -> None:
    net, x = network(), torch.rand(40, 2, 4, 4, dtype=torch.double, requires_grad=True)
    steps = noisy_steps(net, torch.zeros(7, *x.shape, dtype=torch.double))
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        end = chain(steps, x)
    assert saved == [x.numel()] * 7
    assert (net.forwards, net.backwards) == (7 * 40, 0)
    torch.autograd.grad(end.sum(), x)
    assert (net.forwards, net.backwards) == (14 * 40, 7 * 40)


@pytest.mark.parametrize("chunk", [32, 64, 128])
def test_chunks_change_nothing(chunk: int) -> None:
    net, x = network(), torch.randn(100, 2, 4, 4, dtype=torch.double)
    steps = noisy_steps(net, torch.randn(3, *x.shape, dtype=torch.double))
    whole = gradient(lambda z: chain(steps, z), x, torch.ones_like(x))
    with chunk_size(chunk):
        mine = gradient(lambda z: chain(steps, z), x, torch.ones_like(x))
    torch.testing.assert_close(mine, whole, rtol=0, atol=1e-12)


def test_nothing_is_stored_without_a_gradient() -> None:
    net, x = network(), torch.rand(3, 2, 4, 4, dtype=torch.double, requires_grad=True)
    with torch.no_grad():
        end = chain(noisy_steps(net, torch.zeros(2, *x.shape, dtype=torch.double)), x)
    assert not end.requires_grad
    assert not chain([energy_step], x.detach()).requires_grad
    assert net.forwards == 2 * 3


def test_noise_drawn_on_the_way_is_the_same_with_and_without_a_gradient() -> None:
    x = torch.rand(3, 1, 2, 2)

    def times(noise: Tensor) -> Step:
        return lambda z, rows: z * noise[rows] + 1

    def steps() -> Iterator[Step]:
        for _ in range(4):
            yield times(torch.randn_like(x))

    torch.manual_seed(1)
    plain = chain(steps(), x)
    torch.manual_seed(1)
    assert torch.equal(chain(steps(), x.requires_grad_()), plain)


def test_no_steps_are_the_identity() -> None:
    x = torch.rand(2, 1, 3, 3, requires_grad=True)
    assert chain([], x) is x
