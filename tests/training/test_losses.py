"""Losses at points where their value is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.nets.ncsnv2 import ladder
from bench.training import losses, merit


class Gaussian(nn.Module):
    """The exact score, in units of the noise, of N(0.5, deviation^2) at one noise level."""

    def __init__(self, deviation: float, sigma: float) -> None:
        super().__init__()
        self.factor = sigma / (deviation**2 + sigma**2)

    def forward(self, x: Tensor) -> Tensor:
        return -self.factor * (x - 0.5)


def linear(weight: float) -> nn.Module:
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = weight * torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]])
    return nn.Sequential(nn.Flatten(), layer)


def test_the_ladder_is_geometric() -> None:
    levels = ladder(0.5, 0.01, 20)
    torch.testing.assert_close(levels[1:] / levels[:-1], torch.full((19,), 0.02 ** (1 / 19)))
    assert levels[0].item() == pytest.approx(0.5)


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_denoising_loss_of_the_exact_score(sigma: float) -> None:
    torch.manual_seed(0)
    deviation = 0.2
    x = 0.5 + deviation * torch.randn(400, 1, 16, 16)
    expected = deviation**2 / (deviation**2 + sigma**2)
    module = Gaussian(deviation, sigma)
    value = losses.denoising(sigma, sigma, 1)(module, x, torch.zeros(0))
    assert value.item() == pytest.approx(expected, rel=0.02)
    figures = merit.denoising((sigma,))(module, x, torch.zeros(0))
    assert figures[f"dsm@{sigma:g}"] == pytest.approx(expected, rel=0.02)


def test_a_silent_network_has_denoising_loss_one() -> None:
    torch.manual_seed(0)
    value = losses.denoising()(nn.Threshold(1e9, 0.0), torch.rand(400, 1, 16, 16), torch.zeros(0))
    assert value.item() == pytest.approx(1, rel=0.02)


def test_consistency_is_the_divergence_of_three_views() -> None:
    module, x, y = linear(0.3), torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 0, 1, 1])
    same = losses.consistent(lambda x: x)(module, x, y)
    torch.testing.assert_close(same, F.cross_entropy(module(x), y))
    shifted = losses.consistent(lambda x: x + 0.5, weight=7.0)(module, x, y)
    clean, other = (module(each).softmax(1) for each in (x, x + 0.5))
    mean = (clean + 2 * other) / 3
    terms = [F.kl_div(mean.log(), each, reduction="batchmean") for each in (clean, other, other)]
    torch.testing.assert_close(shifted, F.cross_entropy(module(x), y) + 7 * sum(terms) / 3)


def test_madry_attains_the_worst_case_of_a_linear_model() -> None:
    torch.manual_seed(0)
    module, eps = linear(1.0), 0.1
    x = torch.rand(8, 1, 2, 2) * 0.6 + 0.2
    y = torch.arange(8) % 2
    worst = x - eps * (1 - 2 * y.view(-1, 1, 1, 1).float())
    expected = F.cross_entropy(module(worst), y)
    # Five steps cover 1.75 of the ball's 2 eps: from some random starts a corner is just missed.
    assert 0.99 * expected <= losses.madry(eps)(module, x, y) <= expected


def test_one_step_moves_by_eps_from_noise_outside_of_the_ball() -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []

    module, eps = linear(1.0), 0.05
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    x, y = torch.full((8, 1, 2, 2), 0.5), torch.tensor([0, 1] * 4)
    value = losses.one_step(eps)(module, x, y)
    noisy, attacked = seen
    assert eps < (noisy - x).abs().max() <= 2 * eps
    # The worst direction of a linear model: down for class 0, up for class 1.
    down = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1)
    torch.testing.assert_close(attacked, noisy + eps * down)
    assert value.item() == pytest.approx(F.cross_entropy(module(attacked), y).item())
    assert module.training
    assert all(p.grad is None for p in module.parameters())


def test_smoothed_labels_forbid_certainty() -> None:
    x, y = torch.ones(2, 1, 2, 2), torch.tensor([0, 0])
    sure = losses.smoothed(0.1)(linear(1e3), x, y).item()
    assert sure == pytest.approx(0.05 * 8e3)  # half of .1 on the class that is 8,000 behind
    assert losses.smoothed(0.0)(linear(1.0), x, y) == losses.natural(linear(1.0), x, y)


def test_trades_is_the_clean_loss_plus_beta_times_the_divergence() -> None:
    torch.manual_seed(0)
    module, eps = linear(0.5), 0.1
    x = torch.rand(8, 1, 2, 2) * 0.6 + 0.2
    y = (module(x).argmax(1)).long()
    clean = F.cross_entropy(module(x), y)
    ends = torch.stack([module(x - eps), module(x + eps)])
    target = module(x).log_softmax(1)
    gaps = (target.exp() * (target - ends.log_softmax(2))).sum(2)
    worst = gaps.max(0).values
    value = losses.trades(eps, beta=6.0)(module, x, y)
    # Sign steps climb from where the noise starts them, so each image reaches one of two ends.
    assert clean + 6 * gaps.min(0).values.mean() - 1e-5 <= value
    assert value <= clean + 6 * worst.mean() + 1e-5
    assert losses.trades(eps, beta=0.0)(module, x, y).item() == pytest.approx(clean.item())


def test_the_inner_attack_stays_in_the_ball_and_in_the_cube() -> None:
    torch.manual_seed(0)
    x = torch.rand(16, 1, 2, 2)
    y = torch.zeros(16, dtype=torch.long)
    out = losses.ascend(
        linear(1.0),
        x,
        torch.zeros_like(x),
        lambda z: F.cross_entropy(z, y),
        eps=0.1,
        steps=9,
        size=0.04,
    )
    assert (out - x).abs().max() <= 0.1 + 1e-6
    assert out.min() >= 0
    assert out.max() <= 1
    assert math.isclose((out - x).abs().max().item(), 0.1, rel_tol=1e-5)
