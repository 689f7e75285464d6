from __future__ import annotations

import math

import pytest
import torch

from attacks.losses import cross_entropy, dlr, margin, probability_margin, targeted_dlr
from bench.errors import BenchError

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [1.0, 5.0, 2.0]])
Y = torch.tensor([0, 2])


def test_margin_is_the_best_wrong_logit_minus_the_right_one() -> None:
    assert margin(LOGITS, Y).tolist() == [-2.0, 3.0]


def test_cross_entropy_is_per_image() -> None:
    expected = -LOGITS.log_softmax(1)[[0, 1], [0, 2]]
    torch.testing.assert_close(cross_entropy(LOGITS, Y), expected)


def test_the_probability_margin_is_that_of_softmax() -> None:
    p = LOGITS.softmax(1)
    expected = torch.stack([p[0, 1] - p[0, 0], p[1, 1] - p[1, 2]])
    torch.testing.assert_close(probability_margin(LOGITS, Y), 1 + expected)
    sure = torch.tensor([[60.0, 1.0, 0.0]]).requires_grad_()
    (gradient,) = torch.autograd.grad(probability_margin(sure, Y[:1]).sum(), sure)
    # Twice the highest, once the other, and all of it out of the right one.
    one, other = math.exp(-59), math.exp(-60)
    expected = torch.tensor([[-(2 * one + other), 2 * one, other]])
    torch.testing.assert_close(gradient / other, expected / other)


def test_dlr_is_unchanged_by_scale_and_shift() -> None:
    torch.testing.assert_close(dlr(LOGITS, Y), torch.tensor([-2 / 3, 3 / 4]))
    torch.testing.assert_close(dlr(1e4 * LOGITS + 7, Y), dlr(LOGITS, Y))


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(BenchError, match="at least 3 classes"):
        dlr(LOGITS[:, :2], Y[:1])


def test_targeted_dlr_is_the_gap_to_the_target_over_that_to_the_third_and_fourth() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -2.0], [1.0, 5.0, 2.0, 4.0]])
    goal = torch.tensor([[0, 2], [3, 1]])
    torch.testing.assert_close(targeted_dlr(logits, goal), torch.tensor([-3 / 4, 1 / 3.5]))
    torch.testing.assert_close(targeted_dlr(100 * logits - 3, goal), targeted_dlr(logits, goal))
    with pytest.raises(BenchError, match="at least 4 classes"):
        targeted_dlr(LOGITS, goal)
