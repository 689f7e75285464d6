"""How the S runs of one prediction are decided, by the method's rule or as `vote=K` deploys it."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from bench.api import DefensePlugin, find_defense
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.errors import BenchError
from bench.spec import VOTE, parse_part


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


class Dice(Purifier):
    """Turns every image into class c with a chance that is known, whatever it shows."""

    def __init__(self, chances: list[float], traits: Traits) -> None:
        super().__init__()
        self.chances, self.traits = torch.tensor(chances), traits

    def forward(self, x: Tensor) -> Tensor:
        rolled = torch.multinomial(self.chances, len(x), replacement=True)
        return nn.functional.one_hot(rolled, len(self.chances)).view(len(x), -1, 1, 1).to(x)


def chances_of_plurality(chances: list[float], copies: int) -> Tensor:
    """The chance of each class to win so many votes, over every way in which they can fall."""
    won = torch.zeros(len(chances), dtype=torch.float64)
    for votes in product(range(len(chances)), repeat=copies):
        counts = [votes.count(c) for c in range(len(chances))]
        won[counts.index(max(counts))] += math.prod(chances[c] for c in votes)
    return won


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_a_vote_of_copies_wins_as_often_as_counting_says(copies: int) -> None:
    chances, images = [0.3, 0.45, 0.25], 20_000
    dice = Dice(chances, Traits(random=True, runs=7).voting(copies))
    deployed = Defense(Network(nn.Flatten(), "classifier"), [dice])
    assert deployed.runs == copies
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decided = deployed.predict(torch.zeros(images, 3, 1, 1))
    found = decided.bincount(minlength=3) / images
    expected = chances_of_plurality(chances, copies)
    assert ((found - expected).abs() < 4 * (expected * (1 - expected) / images).sqrt()).all()


def test_a_vote_of_two_that_disagree_goes_to_the_lower_class() -> None:
    """So that class 0 wins more often than a single copy says it."""
    assert chances_of_plurality([0.5, 0.5], 2)[0] == 0.75
    tied = defense([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], Traits(random=True).voting(2))
    assert tied.predict(X).tolist() == [1]


def test_copies_replace_runs_and_the_methods_own_vote_in_a_whole_stack() -> None:
    noisy, other = Traits(random=True, runs=10), Traits(random=True, runs=50)
    merged = Traits.merge([noisy.voting(3), other])
    assert (merged.runs, merged.vote, merged.copies) == (3, "majority", 3)
    assert noisy.voting(0) == noisy
    with pytest.raises(BenchError, match="vote=3 and vote=4 in one defense"):
        Traits.merge([noisy.voting(3), other.voting(4)])


def test_every_defense_takes_a_vote_and_older_names_stay() -> None:
    plugin = find_defense("gaussian")
    plain, voted = (plugin.resolve(parse_part(f"gaussian{t}"), "digits") for t in ("", ":vote=5"))
    assert VOTE not in dict(plain.settings)
    assert str(voted) == f"{plain},vote=5"
    traits = plugin.traits(dict(voted.settings))
    assert (traits.runs, traits.vote, traits.copies) == (5, "majority", 5)
    assert plugin.traits(dict(plain.settings)).copies == 0
    for wrong in ("0", "1.5", "many"):
        with pytest.raises(BenchError, match="gaussian: vote="):
            plugin.resolve(parse_part(f"gaussian:vote={wrong}"), "digits")


def test_a_factory_of_its_own_vote_is_refused() -> None:
    with pytest.raises(BenchError, match="'vote' is a setting of every defense"):
        DefensePlugin("own", lambda context, *, vote=3: None)
