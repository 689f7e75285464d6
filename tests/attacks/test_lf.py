"""Filters whose best is known: a checkerboard that can only lose contrast, and a plain image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks.gradients import Blind
from attacks.lf import Filters, LowFrequency
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.errors import BenchError
from bench.measure.judge import evaluate
from bench.plan.plan import make
from bench.plan.request import Request
from tests.tiny import Linear

FILTERS = Filters(3, 10.0)


def board(contrast: float, side: int = 12) -> Tensor:
    """One image of squares of one pixel, grey .5 +- contrast."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (0.5 + contrast * (1 - 2 * ((rows + columns) % 2))).view(1, 1, side, side)


def contrasts(least: float) -> Network:
    """Class 0 where the mean contrast of the squares is above `least`."""
    signs = (board(1.0) - 0.5) / board(1.0).numel()
    return Network(Linear(torch.cat([signs, -signs]), torch.tensor([-least, least])), "classifier")


def blurred(defense: Defense, x: Tensor, budget: float, steps: int = 40) -> Tensor:
    attack = LowFrequency(Blind("margin"), FILTERS, 1, steps, 0.5)
    y, threat = torch.zeros(len(x), dtype=torch.long), ThreatModel("ssim", budget)
    return evaluate(defense, attack, x, y, threat, key="cell").attacked.x_adv


def test_filters_begin_at_the_image_itself() -> None:
    x = torch.rand(2, 3, 8, 8)
    begun = Filters(5, 0.1)
    found = begun(x, begun.begin(x, 2), begun.likeness(x))
    torch.testing.assert_close(found, x, atol=2e-2, rtol=0)
    assert not torch.equal(found, x)


def test_an_even_kernel_is_the_mean_of_alike_neighbours() -> None:
    """Of a board all colours are alike at sigma 10, and only like squares at sigma .01."""
    x = board(0.2)
    mean = FILTERS(x, torch.zeros(1, 1, 9, 12, 12), FILTERS.likeness(x))
    torch.testing.assert_close(mean[0, 0, 1, 1], torch.tensor(0.5 + 0.2 / 9), atol=1e-4, rtol=0)
    sharp = Filters(3, 0.01)
    torch.testing.assert_close(sharp(x, torch.zeros(1, 1, 9, 12, 12), sharp.likeness(x)), x)


def test_contrast_is_taken_away_within_the_budget_and_no_further() -> None:
    defense, x = Defense(contrasts(0.1)), board(0.2)
    assert defense.predict(x).tolist() == [0]
    assert defense.predict(blurred(defense, x, 0.9)).tolist() == [1]
    near = blurred(defense, x, 0.01)
    assert defense.predict(near).tolist() == [0]
    assert ThreatModel("ssim", 0.01).contains(near, x).all()
    assert not torch.equal(near, x)


def test_a_plain_image_stays_what_it_is() -> None:
    """No mean of equal pixels is another grey, whatever the kernels."""
    x = torch.full((1, 1, 12, 12), 0.6)
    found = blurred(Defense(contrasts(-0.1)), x, 1.0, steps=5)
    torch.testing.assert_close(found, x)


def test_a_filter_has_a_middle() -> None:
    assert make(Request(["adp"], ["lf:size=3"], "digits", controls=[]))[0].cells
    with pytest.raises(BenchError, match="size=4 is even"):
        make(Request(["adp"], ["lf:size=4"], "digits", controls=[]))
