"""The VP schedule and its reverse steps against closed forms of a Gaussian prior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from defenses import schedule
from defenses.schedule import (
    TIME_END,
    ancestral,
    clean_prediction,
    diffuse,
    euler,
    jumps,
    level,
    level_at,
    noise_prediction,
    sigma,
    visited,
)

MEAN, SPREAD = 0.3, 0.2
ZERO = torch.zeros(1, dtype=torch.double)


def gaussian(x: Tensor, s: Tensor) -> Tensor:
    """D(x, sigma) of the prior N(MEAN, SPREAD^2) per pixel: the posterior mean."""
    return (SPREAD**2 * x + s**2 * MEAN) / (SPREAD**2 + s**2)


PRIOR = noise_prediction(gaussian)


def posterior(x: Tensor, a: float) -> tuple[Tensor, float]:
    """Mean and variance of x_0 given x_t at level a."""
    s = torch.tensor(sigma(a), dtype=x.dtype)
    return gaussian(x / math.sqrt(a), s), (1 / SPREAD**2 + 1 / float(s) ** 2) ** -1


def states(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 2, 2, generator=generator, dtype=torch.double)


def test_levels_of_the_published_schedule() -> None:
    """betas 1e-4 to .02: a after the first step is 1 - 1e-4, after the last about 4e-5."""
    assert level(-1) == 1
    assert level(0) == pytest.approx(1 - 1e-4, rel=1e-12)
    assert level(1) == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999), rel=1e-12)
    assert level(999) == pytest.approx(4.04e-5, rel=1e-2)


def test_the_continuous_process_passes_through_the_discrete_one() -> None:
    for t in (30, 100, 200, 500):
        assert math.log(level_at(t / 1000)) == pytest.approx(math.log(level(t - 1)), rel=0.03)
    # The derivative of -log a is beta(t), which is .1 at 0 and 20 at 1.
    assert -math.log(level_at(1e-6)) / 1e-6 == pytest.approx(0.1, rel=1e-3)
    assert -math.log(level_at(1) / level_at(1 - 1e-6)) / 1e-6 == pytest.approx(20, rel=1e-3)


def test_both_conventions_are_the_same_point() -> None:
    x, n = states(), states().flip(0)
    a = level(120)
    torch.testing.assert_close(diffuse(x, a, n) / math.sqrt(a), x + sigma(a) * n)
    torch.testing.assert_close(clean_prediction(diffuse(x, a, n), n, a), x)


def test_noise_prediction_is_the_denoiser_in_other_words() -> None:
    x, a = states(), level(70)
    torch.testing.assert_close(clean_prediction(x, PRIOR(x, a), a), posterior(x, a)[0])
    # Tweedie: the score of N(sqrt(a) m, a s^2 + 1 - a) is -n / sqrt(1 - a).
    score = (math.sqrt(a) * MEAN - x) / (a * SPREAD**2 + 1 - a)
    torch.testing.assert_close(-PRIOR(x, a) / math.sqrt(1 - a), score)


@pytest.mark.parametrize(("length", "steps"), [(200, 5), (30, 1), (40, 40)])
def test_ddpm_without_noise_arrives_at_the_posterior_mean(length: int, steps: int) -> None:
    """Each step's mean is E[x_s | x_t], exact for a Gaussian: the tower rule, however few steps."""
    x = states()
    mean, _ = posterior(x, level(length - 1))
    for jump in jumps(length, steps):
        x = ancestral(PRIOR, x, jump, ZERO)
    torch.testing.assert_close(x, mean)


def test_ddim_keeps_the_quantile_of_a_gaussian() -> None:
    """Its limit is the probability flow, which maps quantiles of x_t to those of x_0."""
    x, a = states(), level(199)
    quantile = (x - math.sqrt(a) * MEAN) / math.sqrt(a * SPREAD**2 + 1 - a)
    errors = []
    for steps in (20, 200):
        z = x
        for jump in jumps(200, steps):
            z = ancestral(PRIOR, z, jump, ZERO, eta=0.0)
        errors.append((z - MEAN - SPREAD * quantile).abs().max().item())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 4


def test_the_reverse_sde_has_the_posteriors_mean_and_variance() -> None:
    """All is linear: the mean is the run without noise, the variance a sum over unit impulses."""
    steps, t = 1000, 0.1
    dt = (t - TIME_END) / steps
    x = states()
    mean, variance = posterior(x, level_at(t))
    spread = 0.0
    for k in range(steps):
        time = t - k * dt
        kick = euler(PRIOR, ZERO, time, dt, ZERO + 1) - euler(PRIOR, ZERO, time, dt, ZERO)
        gain = euler(PRIOR, ZERO + 1, time, dt, ZERO) - euler(PRIOR, ZERO, time, dt, ZERO)
        spread = spread * gain.item() ** 2 + kick.item() ** 2
        x = euler(PRIOR, x, time, dt, ZERO)
    torch.testing.assert_close(x, mean, rtol=0, atol=1.5e-3)
    assert spread == pytest.approx(variance, rel=0.02)


def test_visited_times() -> None:
    assert visited(200, 5) == [199, 159, 119, 79, 39]
    assert visited(30, 1) == [29]
    assert visited(3, 3) == [2, 1, 0]
    levels = [a for a, _ in jumps(50, 7)] + [1.0]
    assert levels == sorted(levels)


def test_a_chain_in_image_space_is_clipped_only_at_its_end() -> None:
    x = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    seen: list[Tensor] = []

    def far(z: Tensor, rows: slice) -> Tensor:
        seen.append(z)
        return 3 * z

    def back(z: Tensor, rows: slice) -> Tensor:
        return z / 2

    end = schedule.run([far, back], x)
    assert seen[0].flatten().tolist() == [-1.0, -0.5, 1.0]
    assert end.flatten().tolist() == [0.0, 0.125, 1.0]
