"""Broken means that the deployed decision is wrong, whatever ties and rounding do.

The toy: every image is 1/2 everywhere, so that s, the mean of what an attack added in units of
eps, says all. Class `other` has the logit 2s - 1, rounded to halves, `label` has 0: a tie over an
eighth of the way from the image to the corner, where `other` wins by 1. The lower class wins a tie.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attacks.library import View
from attacks.select import Selector
from attacks.square import Square
from bench import api
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Traits
from bench.errors import BenchError
from bench.measure import build
from bench.measure.judge import evaluate
from bench.spec import parse_part
from tests.defenses.test_votes import SPLIT, X, defense
from tests.tiny import Noise

EPS = 0.25
THREAT = ThreatModel("linf", EPS)
SHAPE = (1, 8, 8)


class Halves(nn.Module):
    """The toy's logits; backward as if nothing were rounded. far: how much more `other` lacks."""

    def __init__(self, label: int, other: int, far: float = 0.0) -> None:
        super().__init__()
        self.label, self.other, self.far = label, other, far

    def forward(self, x: Tensor) -> Tensor:
        exact = 2 * (x - 0.5).flatten(1).mean(1) / EPS - 1 - self.far
        rounded = exact + ((2 * exact).round() / 2 - exact).detach()
        still = torch.zeros_like(exact)
        rows = [still - 5, still - 6, still - 7, still - 8]
        rows[self.label], rows[self.other] = still, rounded
        return torch.stack(rows, 1)


class Nowhere(nn.Module):
    """Logits that are no numbers once the image has been changed."""

    def forward(self, x: Tensor) -> Tensor:
        moved = (x != 0.5).any(1, keepdim=True)
        return torch.where(moved, torch.nan, torch.eye(4)[0].expand(len(x), 4))


def toy(label: int, other: int, random: bool, far: float = 0.0) -> Defense:
    parts = [Noise(1e-3)] if random else []
    return Defense(Network(Halves(label, other, far), "classifier"), parts)


def names() -> list[str]:
    """Registered attacks that climb within linf and bring nothing of their own."""
    found = []
    for name in api.names("attack"):
        plugin = api.find_attack(name)
        settings = dict(plugin.resolve(parse_part(name), "digits", "quick").settings)
        facts = plugin.facts(settings)
        if "linf" not in plugin.norms or facts.noise or facts.aside or facts.given:
            continue
        if not plugin.weights(settings):
            found.append(name)
    return found


def built(name: str) -> Attack:
    part = parse_part(name)
    return build.attack(part, build.context("digits"), "quick")


LOST = {"deepfool", "joint-score", "joint-score:protocol=adp", "spsa", "square:protocol=strict"}
"""Their steps end on the wide tie: they have to go on as long as against what cannot be broken."""


@pytest.mark.parametrize("random", [False, True], ids=["deterministic", "random"])
@pytest.mark.parametrize("name", names())
def test_no_search_ends_at_a_point_that_the_defense_wins(name: str, random: bool) -> None:
    """The corner breaks every image; half of the labels win a tie on the way there, half lose."""
    x = torch.full((4, *SHAPE), 0.5)
    for label, other in ((0, 1), (1, 0)):
        defense, y = toy(label, other, random), torch.full((4,), label)
        assert torch.equal(defense.predict(x), y)
        outcome = evaluate(defense, built(name), x, y, THREAT, key=name)
        if outcome.correct.any():
            assert name in LOST
            safe = evaluate(toy(label, other, random, far=10), built(name), x, y, THREAT, key=name)
            assert outcome.calls == safe.calls
        elif outcome.attacked.protocol is not None:
            assert not outcome.attacked.protocol.any()


def test_square_goes_on_at_a_tie_that_the_defense_wins() -> None:
    """Within half the ball the toy is a tie at most: no query is saved on an image that stands."""
    x, y = torch.full((8, *SHAPE), 0.5), torch.zeros(8, dtype=torch.long)
    half = ThreatModel("linf", EPS / 2)
    defense = toy(0, 1, random=False)
    found = Square(queries=50)(defense, x, y, half)
    assert found.queries is not None
    # One look before, 51 of the search, one after.
    assert found.queries.tolist() == [53] * 8


def test_an_answer_that_is_no_number_is_an_error() -> None:
    x, y = torch.full((4, *SHAPE), 0.5), torch.zeros(4, dtype=torch.long)
    lost = Defense(Network(nn.Sequential(nn.Flatten(), Nowhere()), "classifier"))
    with pytest.raises(BenchError, match="NaN"):
        evaluate(lost, built("square"), x, y, THREAT)


def test_the_choice_between_points_is_by_the_vote_of_the_defense() -> None:
    """The majority says 1, the mean softmax 0."""
    hard = defense(SPLIT, Traits(random=True, runs=3, vote="majority"))
    rates = [float(Selector(hard, 2)(X, torch.tensor([label])).rate) for label in (0, 1)]
    assert rates == [0.0, 1.0]
    decided, scores = hard.answer(X)
    assert (decided.item(), scores.argmax().item()) == (1, 0)


def test_logits_that_are_one_after_rounding_are_a_tie_for_libraries_too() -> None:
    """log_softmax makes 1e-9 nothing: the deployed class is 0, the highest logit that of 1."""
    deployed = Defense(Network(nn.Flatten(), "classifier"))
    x = torch.tensor([0.0, 1e-9, -1.0, -2.0]).view(1, 4, 1, 1)
    assert deployed.predict(x).tolist() == [0]
    assert View(deployed)(x).argmax(1).tolist() == [0]
    assert torch.equal(View(deployed)(x.flip(1)), x.flip(1).flatten(1))
