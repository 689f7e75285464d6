"""The joint loss in closed form: a linear classifier and a linear discriminator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.auxiliary import Grid, Joint, Scale, auxiliary, parse_lambdas
from attacks.gradients import Blind, Bpda, Eot
from attacks.pgd import PGD
from bench import api
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.compute import rng
from bench.errors import BenchError
from bench.measure.judge import evaluate
from bench.spec import parse_part
from tests.tiny import SHAPE, Levels, Linear, images, labels, linear

BALL = ThreatModel("linf", 0.05)


class Unmoved(Purifier):
    """Moves nothing, and has no direction."""

    traits = Traits(direction=True)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def direction(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_where_nothing_moves_only_the_classifier_is_followed() -> None:
    defense, x = Defense(linear(), [Unmoved()]), images(4)
    y = labels(defense, x)
    found = []
    for weight in ("0", "0.5"):
        torch.manual_seed(0)
        found.append(auxiliary(lambdas=weight, steps=3, eot=1)(defense, x, y, BALL).x_adv)
    torch.testing.assert_close(*found)


class Judge(Purifier):
    """Puts the clean image back wherever a linear discriminator's logit of a clean one is below 0.

    Its direction is the gradient of the logarithm of that probability.
    """

    traits = Traits(exact=False, direction=True)

    def __init__(self, e: Tensor, bias: float, clean: Tensor) -> None:
        super().__init__()
        self.e, self.bias, self.clean = e, bias, clean

    def logit(self, x: Tensor) -> Tensor:
        return ((x - 0.5) * self.e).flatten(1).sum(1) + self.bias

    def forward(self, x: Tensor) -> Tensor:
        dirty = (self.logit(x) < 0).view(-1, 1, 1, 1)
        return torch.where(dirty, self.clean.expand_as(x), x)

    def direction(self, x: Tensor) -> Tensor:
        return torch.sigmoid(-self.logit(x)).view(-1, 1, 1, 1) * self.e


def halves(sure: float = 1.0) -> tuple[Defense, Judge, Tensor, Tensor]:
    """The classifier looks at the left half, the discriminator mostly at the right one."""
    w, e = torch.zeros(2, *SHAPE), torch.zeros(SHAPE)
    w[0, :, :, :2], e[:, :, :2], e[:, :, 2:] = sure, 0.1, 3.0
    x = torch.full((2, *SHAPE), 0.52)
    judge = Judge(e, -0.48, x[:1].clone())
    defense = Defense(Network(Linear(w), "classifier"), [judge])
    return defense, judge, x, torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.8])
def test_the_gradient_is_that_of_the_joint_loss(weight: float) -> None:
    defense, judge, x, y = halves()
    x = images(2)
    point = x.clone().requires_grad_()
    climbed = (1 - weight) * F.cross_entropy(defense.classifier(point), y, reduction="sum")
    evaded = -F.logsigmoid(judge.logit(point)).sum()
    (wanted,) = torch.autograd.grad(climbed - weight * evaded, point)
    found = Joint(Blind(), weight)(defense, x, y)
    torch.testing.assert_close(found.gradient, wanted)
    wanted = F.cross_entropy(defense.classifier(x), y, reduction="none")
    torch.testing.assert_close(found.loss, wanted)


def test_at_unit_scale_both_have_length_one() -> None:
    defense, judge, x, y = halves()
    climb = Blind()(defense, x, y).gradient.flatten(1)
    pull = judge.direction(x).flatten(1)
    wanted = 0.5 * F.normalize(climb) + 0.5 * F.normalize(pull)
    found = Joint(Blind(), 0.5, scale="unit")(defense, x, y).gradient.flatten(1)
    torch.testing.assert_close(found, wanted)


def test_evading_the_discriminator_breaks_what_the_classifiers_loss_alone_cannot() -> None:
    """Darkening the left half breaks the classifier, and the purifier undoes it.

    Brightening the right half, which the classifier does not see, pays for it: the joint loss does.
    """
    defense, _, x, y = halves()
    searches = tuple(PGD(Joint(Blind(), weight), steps=10) for weight in (0.0, 0.5, 1.0))
    attacks: list[Attack] = [*searches, Grid(searches)]
    stands = [bool(evaluate(defense, attack, x, y, BALL).correct.all()) for attack in attacks]
    assert stands == [True, False, True, False]


def test_a_sure_classifier_does_not_hide_behind_its_small_gradient() -> None:
    defense, _, x, y = halves(sure=100)
    scales: tuple[Scale, ...] = ("loss", "unit")
    stands = [
        bool(evaluate(defense, PGD(Joint(Blind(), 0.5, scale), 10), x, y, BALL).correct.all())
        for scale in scales
    ]
    assert stands == [True, False]


def test_weight_zero_is_bpda_and_asks_no_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    defense, judge, x, y = halves()

    def refuse(x: Tensor) -> Tensor:
        raise AssertionError("asked")

    monkeypatch.setattr(judge, "direction", refuse)
    alone = auxiliary(lambdas="0", random_start=False, steps=5)
    with rng.work("cell"):
        found = alone(defense, x, y, ThreatModel("l2", 0.1)).x_adv
        wanted = PGD(Eot(Bpda(), 15), 5, 0.125)(defense, x, y, ThreatModel("l2", 0.1)).x_adv
    chosen = found.flatten(1) == wanted.flatten(1)
    assert (chosen.all(1) | (found == x).flatten(1).all(1)).all()


def test_a_defense_without_an_objective_is_skipped_with_its_reason() -> None:
    plugin = api.find_attack("auxiliary")
    settings = dict(plugin.resolve(parse_part("auxiliary"), "patches", "standard").settings)
    assert "no purification direction" in str(plugin.skip(settings, Levels.traits))
    assert plugin.skip(settings, Judge.traits) is None


def test_the_printed_grid_is_of_weights_from_0_to_1() -> None:
    assert parse_lambdas("0+0.5+1/4+1") == (0, 0.5, 0.25, 1)
    plugin = api.find_attack("auxiliary")
    paper = dict(plugin.resolve(parse_part("auxiliary"), "cifar10", "paper").settings)
    assert parse_lambdas(str(paper["lambdas"])) == tuple(tenth / 10 for tenth in range(10))
    for text in ("", "2", "0+x", "nan", "-0.1", "1/0"):
        with pytest.raises(BenchError, match="from 0 to 1"):
            parse_lambdas(text)
    with pytest.raises(BenchError, match="twice"):
        parse_lambdas("0+0.5+0.50")
    with pytest.raises(BenchError, match="from 0 to 1"):
        plugin.resolve(parse_part("auxiliary:lambdas=7"), "cifar10", "paper")


@pytest.mark.parametrize(("dataset", "eps", "step"), [("svhn", 12, 2), ("cifar10", 8, 1)])
def test_steps_are_the_papers(dataset: str, eps: int, step: int) -> None:
    plugin = api.find_attack("auxiliary")
    settings = dict(plugin.resolve(parse_part("auxiliary"), dataset, "paper").settings)
    assert (settings["steps"], float(settings["step"]) * eps) == (40, step)


def test_the_choice_uses_draws_of_its_own() -> None:
    """Selection is on the stream `select`; points do not depend on it."""
    defense = Defense(linear(3), [Levels(9)])
    x = images()
    y = labels(defense, x)
    searches = (PGD(Blind(), steps=2, random_start=True),)
    with rng.work("cell"), rng.stream("attack"):
        found = Grid(searches, select=1)(defense, x, y, ThreatModel("linf", 0.1)).x_adv
    with rng.work("cell"), rng.stream("attack"):
        again = Grid(searches, select=7)(defense, x, y, ThreatModel("linf", 0.1)).x_adv
    assert torch.equal(found, again)
