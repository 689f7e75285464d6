from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attacks.gradients import Blind, Bpda, Displacement, Eot, Exact, Score, Single, surrogate
from bench.api.purifier import Defense, Network, Purifier, Traits, chunk_size
from tests.tiny import SIZE, Affine, Levels, Noise, Quadratic, images, labels, linear, smooth


def matrix() -> Tensor:
    return 0.3 * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def of_classifier(defense: Defense, z: Tensor, y: Tensor) -> Tensor:
    z = z.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(defense.classifier(z), y, reduction="sum")
    return torch.autograd.grad(loss, z)[0]


def test_blind_bpda_and_exact_differ_as_the_chain_rule_says() -> None:
    a = matrix()
    defense = Defense(smooth(), [Affine(a)])
    x = images()
    y = labels(defense, x)
    z = defense.purify(x)
    at_z = of_classifier(defense, z, y)
    close = torch.testing.assert_close
    close(Blind()(defense, x, y).gradient, of_classifier(defense, x, y))
    close(Bpda()(defense, x, y).gradient, at_z)
    close(Exact()(defense, x, y).gradient, (at_z.flatten(1) @ a).view_as(x))


def test_bpda_is_the_gradient_of_the_frozen_displacement() -> None:
    defense = Defense(smooth(), [Levels(5)])
    x = images()
    y = labels(defense, x)
    start = x.clone().requires_grad_()
    logits = defense.classifier(start + (defense.purify(x) - x).detach())
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
    expected = torch.autograd.grad(loss, start)[0]
    slope = Bpda()(defense, x, y)
    torch.testing.assert_close(slope.gradient, expected)
    assert slope.moved is not None
    torch.testing.assert_close(slope.moved, defense.purify(x) - x)


class Constant(Purifier):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)


def test_exact_gives_zeros_where_nothing_depends_on_x() -> None:
    defense = Defense(smooth(), [Constant()])
    slope = Exact()(defense, images(), torch.zeros(8, dtype=torch.long))
    assert not slope.gradient.any()


def test_surrogate_goes_through_the_stand_in() -> None:
    class WithSurrogate(Levels):
        traits = Levels.traits.__class__(exact=False, surrogate=True)

        def surrogate(self, x: Tensor) -> Tensor:
            return 0.5 * x

    defense = Defense(smooth(), [WithSurrogate(5)])
    x = images()
    y = labels(defense, x)
    expected = 0.5 * of_classifier(defense, 0.5 * x, y)
    torch.testing.assert_close(surrogate()(defense, x, y).gradient, expected)


def test_eot_is_the_mean_over_the_same_draws() -> None:
    defense = Defense(Network(Quadratic(), "classifier"), [Noise(0.3)])
    x, y = images(), torch.zeros(8, dtype=torch.long)
    torch.manual_seed(5)
    noise = 0.3 * torch.randn(200 * 8, *x.shape[1:])
    torch.manual_seed(5)
    slope = Eot(Bpda("margin"), 200)(defense, x, y)
    # The gradient of |z|^2 / 2 is z, so the mean over draws is x + mean(noise).
    torch.testing.assert_close(slope.gradient, x + noise.view(200, *x.shape).mean(0))
    assert (slope.gradient - x).abs().max() < 0.15
    assert slope.moved is not None
    torch.testing.assert_close(slope.moved, slope.gradient - x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [Bpda, Exact])
def test_combined_logits_are_the_gradient_of_the_loss_of_their_mean(
    make: Callable[[], Single],
) -> None:
    defense = Defense(smooth(), [Noise(0.5)])
    x = images(40)
    y = labels(defense, x)
    torch.manual_seed(5)
    points = (x.repeat(3, 1, 1, 1) + 0.5 * torch.randn(120, *x.shape[1:])).requires_grad_()
    logits = defense.classifier(points).view(3, 40, -1).mean(0)
    losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    (expected,) = torch.autograd.grad(losses.sum(), points)
    before = defense.calls()["classifier"]
    torch.manual_seed(5)
    slope = Eot(make(), 3, "logits")(defense, x, y)
    torch.testing.assert_close(slope.gradient, expected.view(3, *x.shape).mean(0))
    torch.testing.assert_close(slope.loss, losses.detach())
    assert slope.logits is not None
    torch.testing.assert_close(slope.logits, logits.detach())
    after = defense.calls()["classifier"]
    assert (after[0] - before[0], after[1] - before[1]) == (240, 120)


def test_votes_are_signs_that_cannot_leave_the_image_range() -> None:
    class Border(Purifier):
        traits = Traits(random=True)

        def forward(self, x: Tensor) -> Tensor:
            ends = torch.tensor([0.0, 0.5, 1.0, 0.999]).repeat(len(x) * 4)
            return ends.view_as(x) + 0 * x

    defense = Defense(linear(), [Border()])
    x = images()
    y = labels(defense, x)
    slope = Eot(Bpda(), 3, "vote")(defense, x, y)
    at_z = of_classifier(defense, defense.purify(x), y).sign()
    low, high = torch.tensor([[0.0, -2, -2, -2], [2, 2, 0, 0.255]]).repeat(1, 4).view(2, 1, 4, 4)
    expected = torch.where(at_z > 0, high, low) / 255
    torch.testing.assert_close(slope.gradient, expected.expand_as(x), atol=1e-6, rtol=0)


def test_eot_asks_a_deterministic_defense_once() -> None:
    defense = Defense(smooth(), [Levels(5)])
    x = images()
    y = labels(defense, x)
    before = defense.classifier.forwards
    slope = Eot(Bpda(), 15)(defense, x, y)
    assert defense.classifier.forwards - before == len(x)
    torch.testing.assert_close(slope.gradient, Bpda()(defense, x, y).gradient)


@pytest.mark.parametrize("make", [Bpda, Exact])
def test_the_chunk_changes_nothing(make: Callable[[], Single]) -> None:
    defense = Defense(smooth(), [Noise(0.2)])
    x = images(40)
    y = labels(defense, x)
    found = []
    for chunk in (32, 64, 128):
        torch.manual_seed(0)
        with chunk_size(chunk):
            found.append(Eot(make(), 3)(defense, x, y).gradient)
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found[0], found[2], atol=1e-6, rtol=1e-5)


def test_backward_passes_are_counted_in_images() -> None:
    defense = Defense(smooth(), [Noise(0.2)])
    x = images(40)
    Eot(Bpda(), 3)(defense, x, torch.zeros(40, dtype=torch.long))
    assert defense.calls() == {"classifier": (120, 120)}


def test_directions_of_the_joint_attacks() -> None:
    defense = Defense(smooth(), [Noise(0.2)])
    x, y = images(), torch.zeros(8, dtype=torch.long)
    slope = Eot(Bpda(), 4)(defense, x, y)
    assert slope.moved is not None
    torch.testing.assert_close(Score()(defense, x, slope), 0.5 - x)
    torch.testing.assert_close(Displacement()(defense, x, slope), slope.moved)
    torch.manual_seed(1)
    alone = Displacement(4000)(defense, x, Blind()(defense, x, y))
    assert alone.abs().max() < 0.02
    assert alone.abs().max() > 0
