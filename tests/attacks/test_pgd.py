from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.gradients import Blind, Bpda, Eot, Score
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute import rng
from tests.tiny import Levels, Linear, Luck, Noise, images, labels, linear, smooth


def climb(defense: Defense, y: Tensor) -> Tensor:
    """The direction that raises a two-class linear margin at labels y, [B,C,H,W]."""
    module = defense.classifier.module
    assert isinstance(module, Linear)
    weight = module.weight.detach().view(2, 1, 4, 4)
    return weight[1 - y] - weight[y]


@pytest.mark.parametrize("random_start", [False, True])
def test_linf_reaches_the_optimum_of_a_linear_classifier(random_start: bool) -> None:
    defense, threat = Defense(linear()), ThreatModel("linf", 0.3)
    x = images()
    y = labels(defense, x)
    attacked = PGD(Blind(), 40, random_start=random_start)(defense, x, y, threat)
    expected = (x + 0.3 * climb(defense, y).sign()).clamp(0, 1)
    torch.testing.assert_close(attacked.x_adv, expected)


def test_l2_reaches_the_optimum_of_a_linear_classifier() -> None:
    defense, threat = Defense(linear()), ThreatModel("l2", 0.15)
    x = images()
    y = labels(defense, x)
    attacked = PGD(Blind("margin"), 20)(defense, x, y, threat)
    direction = climb(defense, y)
    norms = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(attacked.x_adv, x + 0.15 * direction / norms)


@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-4, 2.0),
    step=st.floats(0.01, 5.0),
    random_start=st.booleans(),
)
def test_never_leaves_the_ball_or_the_image_range(
    norm: str, eps: float, step: float, random_start: bool
) -> None:
    defense, threat = Defense(smooth(), [Noise(0.1)]), ThreatModel(norm, eps)
    x = images(4)
    attack = PGD(Eot(Bpda(), 2), 4, step, random_start)
    x_adv = attack(defense, x, labels(defense, x), threat).x_adv
    assert threat.contains(x_adv, x).all()


def test_joint_moves_half_by_sign_of_each_term() -> None:
    defense, threat = Defense(linear(), [Noise(0.0)]), ThreatModel("linf", 0.1)
    x = images()
    y = labels(defense, x)
    attack = PGD(Bpda(), 1, 0.25, direction=Score(), weight=0.5)
    moved = attack(defense, x, y, threat).x_adv - x
    expected = 0.025 * 0.5 * (climb(defense, y).sign() + (0.5 - x).sign())
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)
    assert set((moved / 0.025).round().flatten().tolist()) == {-1.0, 0.0, 1.0}


def test_weight_one_follows_the_direction_alone() -> None:
    defense, threat = Defense(linear(), [Noise(0.0)]), ThreatModel("linf", 0.1)
    x = images()
    attack = PGD(Bpda(), 4, direction=Score(), weight=1.0)
    moved = attack(defense, x, labels(defense, x), threat).x_adv - x
    assert ((moved.sign() == (0.5 - x).sign()) | (moved.abs() < 0.026)).all()


def test_trace_holds_loss_and_gradient_norm_of_every_step() -> None:
    defense = Defense(linear())
    x = images()
    y = labels(defense, x)
    trace = PGD(Blind("margin"), 5)(defense, x, y, ThreatModel("linf", 0.1)).trace
    assert trace is not None
    assert trace.loss.shape == trace.grad_norm.shape == (5, 8)
    assert (trace.loss.diff(dim=0) >= 0).all()
    norms = climb(defense, y).flatten(1).norm(dim=1)
    torch.testing.assert_close(trace.grad_norm, norms.expand(5, 8))


def test_best_is_never_worse_than_last_on_a_deterministic_defense() -> None:
    defense, threat = Defense(smooth(), [Levels(4)]), ThreatModel("linf", 0.15)
    x = images(32)
    y = labels(defense, defense.purify(x))
    right = {}
    for keep in ("last", "best"):
        torch.manual_seed(0)
        attack = PGD(Bpda(), 10, 1.0, keep="best" if keep == "best" else "last")
        right[keep] = (defense.predict(attack(defense, x, y, threat).x_adv) == y).float()
    assert (right["best"] <= right["last"]).all()
    assert right["best"].mean() < 1


def test_restarts_keep_the_point_that_breaks() -> None:
    defense, threat = Defense(smooth()), ThreatModel("linf", 0.1)
    x = images(32)
    y = labels(defense, x)
    torch.manual_seed(0)
    one = PGD(Blind(), 1, 0.1, True)(defense, x, y, threat).x_adv
    torch.manual_seed(0)
    many = PGD(Blind(), 1, 0.1, True, restarts=8)(defense, x, y, threat).x_adv
    assert (defense.predict(many) == y).sum() < (defense.predict(one) == y).sum()


def test_choosing_a_point_draws_nothing_from_the_attack_stream() -> None:
    defense, threat = Defense(linear(), [Luck(0.3)]), ThreatModel("linf", 0.05)
    x = images()
    y = labels(defense, x)
    losses = []
    for keep in ("last", "best"):
        with rng.work("cell"), rng.stream("attack"):
            attack = PGD(Bpda(), 5, keep="best" if keep == "best" else "last")
            trace = attack(defense, x, y, threat).trace
        assert trace is not None
        losses.append(trace.loss)
    assert torch.equal(losses[0], losses[1])


def test_who_has_a_gradient_asks_no_queries() -> None:
    defense, x = Defense(linear()), images(4)
    found = PGD(Blind(), steps=3)(defense, x, labels(defense, x), ThreatModel("linf", 0.1))
    assert found.queries is None
