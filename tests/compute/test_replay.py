"""What a batch drew is drawn again by some of its rows alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.compute.replay import recorded, replayed
from bench.errors import BenchError


def several(x: Tensor) -> tuple[Tensor, ...]:
    """Draws like x, of steps and rows, in place, and without a row of its own."""
    filled = torch.empty(len(x), 2).uniform_(0, 1)
    return torch.randn_like(x), torch.randn(5, *x.shape), filled, torch.rand(7)


def test_chosen_rows_draw_what_they_drew_in_the_whole_batch() -> None:
    x, rows = torch.zeros(6, 3), torch.tensor([4, 1])
    with recorded() as kept:
        whole = several(x)
    torch.rand(11)  # somebody else draws meanwhile
    with replayed(kept, rows, len(x)):
        again = several(x[rows])
    expected = (whole[0][rows], whole[1][:, rows], whole[2][rows], whole[3])
    for one, other in zip(again, expected, strict=True):
        assert torch.equal(one, other)


def test_all_rows_in_another_order_and_what_goes_on_for_longer_is_fresh() -> None:
    x, rows = torch.zeros(4, 3), torch.tensor([3, 2, 1, 0])
    with recorded() as kept:
        whole = torch.rand_like(x)
    with replayed(kept, rows, 4):
        again, more = torch.rand_like(x), torch.rand_like(x)
    assert torch.equal(again, whole.flip(0))
    assert not torch.equal(more, whole)


def test_numbers_of_another_shape_are_refused() -> None:
    with recorded() as kept:
        torch.rand(6, 3)
    refused = pytest.raises(BenchError, match=r"numbers of shape \(2, 4\) for 2 rows")
    with refused, replayed(kept, torch.tensor([0, 1]), 6):
        torch.rand(2, 4)


def test_a_generator_of_its_own_is_let_be() -> None:
    own = torch.Generator().manual_seed(3)
    with recorded() as kept:
        torch.rand(3, generator=own)
    assert not kept
