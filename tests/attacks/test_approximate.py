"""BPDA's variants, each against what its definition says on purifiers whose Jacobian is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.approximate import FromPurified
from attacks.gradients import Blind, Bpda, BpdaSurrogate, Eot, Exact
from attacks.pgd import PGD
from bench import api
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.models.nets.ebm import EBM
from defenses.adp import ADP
from defenses.adp_walk import StepRule
from defenses.langevin import Langevin
from tests.attacks.test_gradients import matrix, of_classifier
from tests.tiny import Affine, Levels, Noise, images, labels, smooth

LINF = ThreatModel("linf", 0.1)


class Walk(Purifier):
    """`steps` times half the way to 1/2; rounds at the end, so that there is no exact gradient."""

    traits = Traits(exact=False, surrogate=True, one_step=True)

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return ((0.5 + (x - 0.5) * 0.5**self.steps) * 64).round() / 64

    def one_step(self, x: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) * 0.5

    def surrogate(self, x: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) * 0.5**self.steps


def test_bpda_with_a_surrogate_is_forward_through_one_and_backward_through_the_other() -> None:
    defense = Defense(smooth(), [Walk(3)])
    x = images()
    y = labels(defense, x)
    slope = BpdaSurrogate()(defense, x, y)
    straight = Bpda()(defense, x, y)
    torch.testing.assert_close(slope.gradient, straight.gradient / 8)
    torch.testing.assert_close(slope.loss, straight.loss)
    assert slope.moved is not None
    torch.testing.assert_close(slope.moved, defense.purify(x) - x)
    ahead = Exact(through="surrogate")(defense, x, y)
    assert not torch.allclose(slope.loss, ahead.loss, atol=1e-5)


def test_one_step_unrolling_is_the_classifier_behind_the_first_step() -> None:
    defense = Defense(smooth(), [Walk(3)])
    x = images()
    y = labels(defense, x)
    first = 0.5 + (x - 0.5) * 0.5
    slope = Exact(through="one_step")(defense, x, y)
    torch.testing.assert_close(slope.gradient, of_classifier(defense, first, y) / 2)
    assert slope.logits is None


def test_a_stack_takes_one_step_of_each_part_that_walks_and_runs_the_rest() -> None:
    a = matrix()
    defense = Defense(smooth(), [Affine(a), Walk(3)])
    x = images()
    y = labels(defense, x)
    first = 0.5 + (defense.purifiers[0](x) - 0.5) * 0.5
    expected = (of_classifier(defense, first, y).flatten(1) @ a / 2).view_as(x)
    torch.testing.assert_close(Exact(through="one_step")(defense, x, y).gradient, expected)


def convolution() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(nn.Conv2d(1, 1, 3, padding=1), "score")


def energy() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(EBM(channels=1, width=4, stages=1, activation="silu"), "energy")


@pytest.mark.parametrize(
    ("whole", "short"),
    [
        (
            ADP(convolution(), StepRule(steps=4, adaptive=False, decay=0.01), 0.1),
            ADP(convolution(), StepRule(steps=1, adaptive=False, decay=0.01), 0.1),
        ),
        (ADP(convolution(), StepRule(steps=4), 0.1), ADP(convolution(), StepRule(steps=1), 0.1)),
        (Langevin(energy(), 4, 0.1, 0.01), Langevin(energy(), 1, 0.1, 0.01)),
    ],
)
def test_one_step_is_the_purifier_with_one(whole: Purifier, short: Purifier) -> None:
    x = images(3, (1, 8, 8))
    found = []
    for run in (whole.one_step, short):
        torch.manual_seed(0)
        start = x.clone().requires_grad_()
        end = run(start)
        found.append((end.detach(), torch.autograd.grad(end.square().sum(), start)[0]))
    torch.testing.assert_close(found[0], found[1])
    torch.manual_seed(0)
    assert not torch.allclose(whole(x), found[0][0])


def test_approximate_input_steps_from_the_purified_image() -> None:
    """x_1 is the projection of P(x) + step * sign of the classifier's gradient at P(x)."""
    defense = Defense(smooth(), [Walk(1)])
    x = images()
    y = labels(defense, x)
    z = defense.purify(x)
    ahead = z + 0.5 * LINF.eps * of_classifier(defense, z, y).sign()
    search = PGD(Eot(Bpda(), 3), steps=1, step=0.5, rule=FromPurified())
    torch.testing.assert_close(search(defense, x, y, LINF).x_adv, LINF.project(ahead, x))
    straight = PGD(Eot(Bpda(), 3), steps=1, step=0.5)(defense, x, y, LINF).x_adv
    assert not torch.allclose(straight, LINF.project(ahead, x))


def test_without_a_purified_image_it_steps_from_the_point() -> None:
    defense, x = Defense(smooth()), images()
    y = labels(defense, x)
    ways = [PGD(Blind(), 3, rule=FromPurified()), PGD(Blind(), 3)]
    one, two = (way(defense, x, y, LINF).x_adv for way in ways)
    assert torch.equal(one, two)


def skip(name: str, traits: Traits) -> str | None:
    plugin = api.find_attack(name)
    settings: dict[str, Any] = plugin.defaults
    return plugin.skip(settings, traits)


def test_variants_of_bpda_are_skipped_where_there_is_nothing_to_follow() -> None:
    assert "no single step" in str(skip("one-step-unrolling", Noise.traits))
    assert skip("one-step-unrolling", Walk.traits) is None
    assert "no surrogate" in str(skip("bpda-surrogate", Levels.traits))
    assert skip("bpda-surrogate", Walk.traits) is None
    assert skip("approximate-input", Levels.traits) is None
    bare = Traits(identity=True)
    names = ("one-step-unrolling", "bpda-surrogate", "approximate-input")
    assert all("no purifier" in str(skip(name, bare)) for name in names)
