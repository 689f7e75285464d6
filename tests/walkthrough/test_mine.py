"""MINE on Gaussian pairs, whose mutual information is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.walkthrough.mine import information


def pairs(count: int, correlation: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, noise = torch.randn(2, count, 1, generator=generator)
    return a, correlation * a + math.sqrt(1 - correlation**2) * noise


@pytest.mark.parametrize("correlation", [0.6, -0.9])
def test_correlated_gaussians_have_what_the_formula_says(correlation: float) -> None:
    exact = -math.log(1 - correlation**2) / 2
    found = information(*pairs(1000, correlation))
    assert found == pytest.approx(exact, abs=0.1)


def test_independent_samples_have_none_however_many_numbers_they_are_of() -> None:
    torch.manual_seed(0)
    assert information(torch.randn(100, 30), torch.randn(100, 30)) < 0.05


def test_it_is_the_same_each_time_and_in_other_units() -> None:
    a, b = pairs(200, 0.9)
    found = information(a, b)
    torch.manual_seed(1)
    assert information(a, b) == found
    assert information(100 * a - 7, b / 50) == pytest.approx(found, abs=1e-3)


def test_it_needs_no_line_to_follow() -> None:
    """Without any correlation, b tells the size of a."""
    a, _ = pairs(600, 0.0)
    assert information(a, a.square()) > 0.7


def test_it_stays_below_where_its_network_tells_all_pairs_apart() -> None:
    """Eight numbers of each, alike up to a hundredth: 31 nats, of which few pairs show a part."""
    torch.manual_seed(0)
    a, noise = torch.randn(2, 64, 8)
    exact = -4 * math.log(1 - 0.999**2)
    found = information(a, 0.999 * a + math.sqrt(1 - 0.999**2) * noise)
    assert 1 < found < exact / 2
