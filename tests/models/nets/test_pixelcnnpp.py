"""PixelCNN++: the authors' outputs, causality, the likelihood, and cached decoding."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from bench.models.nets import logistic
from bench.models.nets.logistic import Mixture, to_level, to_value
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.models.nets.pixelcnnpp_decode import decode, decode_plainly, main
from tests.models.nets.test_golden import golden, loaded


def wild(channels: int = 3, blocks: int = 1, seed: int = 0) -> PixelCNNpp:
    """A tiny network in double precision whose every part matters."""
    torch.manual_seed(seed)
    network = PixelCNNpp(
        nr_resnet=blocks, nr_filters=4, nr_logistic_mix=2, input_channels=channels
    ).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.7)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("file", ["pixelcnnpp_tiny", "pixelcnnpp_tiny_28x28"])
def test_the_authors_parameters_and_bits(file: str) -> None:
    data, state, config = golden(file)
    del config["size"]
    network = loaded("pixelcnnpp", state, config)
    params = network(data["x"])
    torch.testing.assert_close(params, data["params"], atol=2e-4, rtol=0)
    level = to_level((data["x"] + 1) / 2, 256)
    bits = logistic.bits_per_dim(params, level, 256)
    torch.testing.assert_close(bits, data["bits_per_dim"], atol=0, rtol=1e-4)
    nats = -logistic.log_likelihood(params, level, 256).flatten(1).sum(1)
    torch.testing.assert_close(nats, data["nll_nats"], atol=0, rtol=1e-4)


@pytest.mark.parametrize("place", [(0, 0), (0, 5), (3, 0), (4, 4), (7, 2), (7, 7)])
def test_a_position_depends_on_the_pixels_before_it_and_no_others(place: tuple[int, int]) -> None:
    network, (i, j) = wild(), place
    x = (2 * torch.rand(1, 3, 8, 8).double() - 1).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, :, i, j].square().sum(), x, allow_unused=True)
    reached = gradient[0].abs().sum(0).flatten()
    assert (reached[i * 8 + j :] == 0).all()
    if j:
        assert reached[i * 8 + j - 1] > 0
    if i:
        assert reached[(i - 1) * 8 + j] > 0


def test_dropout_drops_whole_channels_and_only_in_training() -> None:
    network = wild().train()
    seen: list[Tensor] = []
    network.get_submodule("up_layers.0.u_stream.0.conv_out").register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    network(torch.zeros(2, 3, 8, 8).double())
    dead = (seen[0] == 0).flatten(2).all(2)
    assert 0 < dead.sum() < dead.numel()
    assert (seen[0] != 0).flatten(2).all(2)[~dead].all()
    assert torch.equal(network.eval()(torch.zeros(1, 3, 8, 8).double()), network(zeros(1)))


def zeros(batch: int) -> Tensor:
    return torch.zeros(batch, 3, 8, 8).double()


def params_of(channels: int, mixtures: int = 3, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return 2 * torch.randn(2, (10 if channels == 3 else 3) * mixtures, 1).double()


@pytest.mark.parametrize("levels", [2, 5, 17])
def test_probabilities_of_all_grey_levels_sum_to_one(levels: int) -> None:
    every = torch.arange(levels).view(1, 1, levels)
    params = params_of(1).expand(-1, -1, levels)
    total = logistic.log_likelihood(params, every.expand(2, 1, -1), levels).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(2).double())


def test_probabilities_of_all_colours_sum_to_one() -> None:
    levels = 5
    every = torch.tensor(list(product(range(levels), repeat=3))).T[None]
    params = params_of(3).expand(-1, -1, levels**3)
    total = logistic.log_likelihood(params, every.expand(2, -1, -1), levels).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(2).double())


def test_one_logistic_by_hand() -> None:
    """K = 1, mean 0, scale e^-1, three levels: bins end at -1/2 and 1/2."""
    params = torch.tensor([0.3, 0.0, -1.0]).double().view(1, 3, 1).expand(1, 3, 3)
    level = torch.tensor([[[0, 1, 2]]])
    low = 1 / (1 + math.exp(0.5 * math.e))
    expected = torch.tensor([[low, 1 - 2 * low, low]]).double()
    torch.testing.assert_close(logistic.log_likelihood(params, level, 3).exp(), expected)


def test_levels_come_back_from_their_values() -> None:
    for levels in (17, 256):
        every = torch.arange(levels)
        for dtype in (torch.float32, torch.float64):
            value = to_value(every, levels, dtype)
            assert torch.equal(to_level((value + 1) / 2, levels), every)
            assert torch.equal(to_level((every / (levels - 1)).to(dtype), levels), every)


def test_far_tails_have_finite_likelihood_and_gradient() -> None:
    """A scale of e^-7, the least, and a pixel at the other end of the range."""
    params = torch.tensor([0.0, 0.9, -30.0]).view(1, 3, 1).expand(1, 3, 256).clone()
    params.requires_grad_()
    total = logistic.log_likelihood(params, torch.arange(256).view(1, 1, -1), 256).sum()
    torch.autograd.backward(total)
    assert total.isfinite()
    assert params.grad is not None
    assert params.grad.isfinite().all()


def test_components_are_the_published_layout() -> None:
    mixture = Mixture.of(torch.arange(20.0).view(1, 20, 1), 3)
    assert mixture.mean[0, :, :, 0].tolist() == [[2, 3], [8, 9], [14, 15]]
    assert mixture.log_scale[0, 1, :, 0].tolist() == [10, 11]
    assert mixture.coeff is not None
    torch.testing.assert_close(mixture.coeff[0, 2, :, 0], torch.tensor([18.0, 19.0]).tanh())


@pytest.mark.parametrize(
    ("channels", "blocks", "shape"), [(3, 1, (8, 12)), (1, 2, (12, 8)), (3, 2, (4, 4))]
)
def test_cached_decoding_gives_the_same_pixels(
    channels: int, blocks: int, shape: tuple[int, int]
) -> None:
    network = wild(channels, blocks)
    x = 2 * torch.rand(3, channels, *shape).double() - 1
    seen: list[list[Tensor]] = [[], []]
    results = []
    for way, kept_here in zip((decode_plainly, decode), seen, strict=True):

        def choose(params: Tensor, i: int, j: int, kept: list[Tensor] = kept_here) -> Tensor:
            kept.append(params.clone())
            near = x[:, :, i, j] + 0.2 * params[:, :channels]
            return to_value(to_level((near + 1) / 2, 256), 256, near.dtype)

        results.append(way(network, x, choose))
    assert torch.equal(*results)
    assert not torch.equal(results[0], x)
    torch.testing.assert_close(seen[1], seen[0], atol=1e-12, rtol=1e-12)


def test_the_benchmark_prints_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--batch", "2", "--filters", "4", "--blocks", "1", "--side", "8", "--positions", "1"])
    assert "batch 2: plain" in capsys.readouterr().out
