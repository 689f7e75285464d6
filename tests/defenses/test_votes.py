"""How the S runs of one prediction are decided."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api.purifier import Defense, Network, Purifier, Traits


class Script(Purifier):
    """Replaces the whole batch of runs by values that are given, so that logits can be chosen."""

    def __init__(self, rows: list[list[float]], traits: Traits) -> None:
        super().__init__()
        self.rows, self.traits = torch.tensor(rows), traits

    def forward(self, x: Tensor) -> Tensor:
        return self.rows.view(len(x), -1, 1, 1).to(x)


def defense(rows: list[list[float]], traits: Traits) -> Defense:
    """Logits of run r on image i are `rows[r * images + i]`."""
    return Defense(Network(nn.Flatten(), "classifier"), [Script(rows, traits)])


X = torch.zeros(1, 3, 1, 1)
SPLIT = [[2.0, 2.1, 0.0], [2.0, 2.1, 0.0], [9.0, 0.0, 0.0]]
"""Two of three runs say 1 by a hair, the third says 0 with conviction."""


def test_majority_and_mean_softmax_can_disagree() -> None:
    soft = defense(SPLIT, Traits(random=True, runs=3))
    hard = defense(SPLIT, Traits(random=True, runs=3, vote="majority"))
    assert (soft.predict(X).tolist(), hard.predict(X).tolist()) == ([0], [1])
    torch.testing.assert_close(hard.scores(X), soft.scores(X), rtol=0, atol=0)
    assert hard.scores(X).argmax(1).tolist() == [0]


def test_a_tie_goes_to_the_lower_class() -> None:
    tied = [[0.0, 1.0, 5.0], [0.0, 9.0, 1.0]]
    hard = defense(tied, Traits(random=True, runs=2, vote="majority"))
    assert hard.predict(X).tolist() == [1]


def test_votes_of_a_batch_are_counted_per_image() -> None:
    rows = [[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0], [0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]]
    hard = defense(rows, Traits(random=True, runs=3, vote="majority"))
    assert hard.predict(torch.zeros(2, 3, 1, 1)).tolist() == [1, 2]


def test_a_stack_takes_the_majority_if_any_part_asks() -> None:
    plain, majority = Traits(runs=2), Traits(vote="majority")
    assert Traits.merge([plain, majority]).vote == "majority"
    assert Traits.merge([majority, plain]).vote == "majority"
    assert Traits.merge([plain, plain]).vote == "softmax"
    assert Traits.merge([]).vote == "softmax"
