"""Memory that runs out, gradients that do not flow, networks that need float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from attacks.gradients import classifier_slope
from bench.api.chain import Step, chain
from bench.api.purifier import Defense, Network, chunk_size
from bench.compute.network import by_chunks, computing, finite, shrink
from bench.errors import BenchError
from tests.tiny import images, labels, smooth


class Small(nn.Module):
    """A network on a device that holds `most` images, counting those with a gradient double."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.sizes = most, list[int]()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) * (1 + torch.is_grad_enabled()) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        out: Tensor = self.layer(x).tanh()
        return out


@pytest.fixture(autouse=True)
def _whole() -> Iterator[None]:
    with chunk_size(128):
        yield
    Network.lean = False


def small(most: int) -> Network:
    torch.manual_seed(0)
    return Network(Small(most), "net")


def sizes(net: Network) -> list[int]:
    assert isinstance(net.module, Small)
    return net.module.sizes


def test_halves_are_multiples_of_32_as_long_as_they_can_be() -> None:
    found = []
    images_at_once = 200
    while images_at_once > 1:
        shrink(images_at_once)
        found.append(images_at_once := Network.chunk)
    assert found == [96, 32, 16, 8, 4, 2, 1]
    with pytest.raises(BenchError, match="one image"):
        shrink(1)


def test_a_batch_that_is_too_large_is_split_and_counted_once() -> None:
    net, x = small(40), images(100)
    with torch.no_grad():
        out = net(x)
    torch.testing.assert_close(out, small(1000)(x), rtol=0, atol=1e-6)
    assert sizes(net) == [100, 32, 32, 32, 4]
    assert (net.forwards, net.backwards) == (100, 0)


def test_one_image_too_many_is_an_error_in_one_line() -> None:
    with torch.no_grad(), pytest.raises(BenchError, match="even with one image"):
        small(0)(images(3))


def test_whoever_consumes_a_graph_repeats_it() -> None:
    """Halves that keep their graphs need as much as the whole: the network passes the error on."""
    net, x = small(40), images(100).requires_grad_()
    with pytest.raises(torch.OutOfMemoryError):
        net(x)
    assert (net.forwards, Network.chunk) == (0, 128)


def adding(net: Network) -> Step:
    def step(z: Tensor, rows: slice) -> Tensor:
        moved: Tensor = z + net(z)
        return moved

    return step


def test_the_gradient_of_a_chain_is_split_and_counted_once() -> None:
    x = images(70)

    def gradient(net: Network) -> tuple[Tensor, int, int]:
        step = adding(net)
        point = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(chain([step] * 3, point).sum(), point)
        return found, net.forwards, net.backwards

    whole, split = gradient(small(1000)), gradient(small(40))
    torch.testing.assert_close(split[0], whole[0], rtol=0, atol=1e-5)
    assert split[1:] == whole[1:] == (420, 210)
    assert Network.chunk == 16


def test_the_classifiers_gradient_is_split_and_counted_once() -> None:
    def slope(most: int) -> tuple[tuple[Tensor, ...], dict[str, tuple[int, int]]]:
        defense = Defense(Network(nn.Sequential(Small(most), nn.Flatten()), "classifier"))
        torch.nn.init.constant_(next(defense.classifier.parameters()), 0.3)
        x = images(50)
        found = classifier_slope(defense, x, torch.zeros(50, dtype=torch.long), "ce")
        return found, defense.calls()

    torch.manual_seed(0)
    whole = slope(1000)
    torch.manual_seed(0)
    split = slope(20)
    for mine, expected in zip(split[0], whole[0], strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6)
    assert split[1] == whole[1] == {"classifier": (50, 50)}


def test_other_errors_are_passed_on() -> None:
    def work(rows: slice) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        by_chunks(5, work)


def test_lean_networks_give_the_same_gradients_and_counts() -> None:
    x, v = images(40), torch.randn(40, 5)

    def gradient() -> tuple[Tensor, tuple[int, int]]:
        net, point = smooth(), x.clone().requires_grad_()
        with chunk_size(32):
            (found,) = torch.autograd.grad(net(point), point, v)
        return found, (net.forwards, net.backwards)

    plain = gradient()
    Network.lean = True
    lean = gradient()
    assert torch.equal(lean[0], plain[0])
    assert lean[1] == plain[1] == (40, 40)


def test_lean_chains_give_the_same_gradients() -> None:
    net, x = small(1000), images(40)
    step = adding(net)

    def gradient() -> Tensor:
        point = x.clone().requires_grad_()
        return torch.autograd.grad(chain([step] * 3, point).sum(), point)[0]

    plain = gradient()
    Network.lean = True
    torch.testing.assert_close(gradient(), plain)


def test_without_a_gradient_networks_run_in_inference_mode() -> None:
    seen = []

    class Look(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.is_inference_mode_enabled())
            return 2 * x

    net, x = Network(Look(), "look"), images(3)
    with torch.no_grad():
        out = net(x)
    assert seen == [True]
    point = out.requires_grad_()  # what follows may still be differentiated
    (gradient,) = torch.autograd.grad(net(point).square().sum(), point)
    torch.testing.assert_close(gradient, 8 * out.detach())
    assert seen == [True, False]


def test_a_reduced_precision_is_the_networks_alone_and_exact_ones_are_spared() -> None:
    x = images(8)
    plain, defense = smooth(), Defense(smooth())
    exact = Network(plain.module, "exact", exact=True)
    expected = plain(x)
    with computing("bf16"):
        rough, same = plain(x), exact(x)
    assert torch.equal(same, expected)
    assert rough.dtype == torch.float32
    assert 0 < float((rough - expected).abs().max()) < 0.1
    assert Network.precision == "float32"
    assert torch.equal(plain(x), expected)
    y = labels(defense, x)
    with computing("bf16"):
        gradient, _, _ = classifier_slope(defense, x, y, "ce")
    assert gradient.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        ([1.0, -2.0], True),
        ([3e38, 3e38], True),  # their sum is not
        ([-3e38, -3e38, 1.0], True),
        ([float("inf"), float("-inf")], False),
        ([float("nan"), 1.0], False),
        ([3e38, 3e38, float("-inf")], False),
        ([], True),
    ],
)
def test_numbers_that_are_none_are_found_by_their_sum(values: list[float], whole: bool) -> None:
    assert finite(torch.tensor(values)) is whole
