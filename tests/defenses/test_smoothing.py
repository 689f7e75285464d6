"""Bit depth and randomized smoothing: rounding, votes, and their declared traits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench import contract
from bench.api.purifier import Defense, Network
from bench.errors import BenchError
from bench.measure import build
from defenses.controls import Bits, Gaussian


@pytest.mark.parametrize(("depth", "levels"), [(1, 2), (3, 8), (8, 256)])
def test_bits_leave_so_many_levels_and_move_no_further_than_half_a_step(
    depth: int, levels: int
) -> None:
    x = torch.linspace(0, 1, 4001).view(1, 1, 1, -1)
    out = Bits(depth)(x)
    assert len(out.unique()) == levels
    assert (out - x).abs().max() <= 0.5 / (levels - 1) + 1e-6
    torch.testing.assert_close(Bits(depth)(out), out)
    assert torch.equal(out[..., [0, -1]], x[..., [0, -1]])


def test_bits_are_a_control_with_gradients_passed_on() -> None:
    context = build.context("digits")
    assert not build.traits("bits", context).exact
    assert [result for result in contract.check("bits", "digits") if not result.ok] == []
    with pytest.raises(BenchError, match="out of range"):
        build.traits("bits:depth=9", context)


class Step(nn.Module):
    """Class 1, with very large logits, where the mean of an image is above 1/2 + shift."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        value = 1e4 * (x.mean((1, 2, 3)) - 0.5 - self.shift)
        # Class 0 is sure, class 1 never more than 60 %: the mean softmax would side with class 0.
        return torch.stack([torch.zeros_like(value), value.clamp(-1e4, 0.4)], 1)


def test_smoothing_takes_the_class_of_most_draws() -> None:
    """The share of draws above the step is Phi(-shift/(sigma/sqrt(D))): a vote at 1/2."""
    traits = build.traits("smoothing:runs=401", build.context("digits"))
    assert (traits.random, traits.exact, traits.runs, traits.vote) == (True, True, 401, "majority")
    x = torch.full((3, 1, 4, 4), 0.5)
    deviation = 0.1 / 4
    for shift, expected in ((-0.25 * deviation, 1), (0.25 * deviation, 0)):
        purifier = Gaussian(0.1)
        purifier.traits = traits
        defense = Defense(Network(Step(shift), "classifier"), [purifier])
        torch.manual_seed(0)
        assert defense.predict(x).tolist() == [expected] * 3


def test_smoothing_meets_the_contract() -> None:
    assert [r for r in contract.check("smoothing:runs=2", "digits") if not r.ok] == []
