"""Gradients that an attack saw, by image, whatever it hands over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from attacks.gradients import classifier_slope
from bench.api.attacked import Attacked, Trace
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits, chunk_size, repeat
from bench.measure.judge import evaluate
from bench.measure.looks import hidden, watched

IMAGES = 6
BALL = ThreatModel.parse("linf:0.1")


class Linear(nn.Module):
    """Two classes by the sum of the pixels; no gradient from images darker than a half."""

    def __init__(self, masks: bool = False, lost: bool = False) -> None:
        super().__init__()
        self.masks, self.lost = masks, lost

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1, keepdim=True)
        dark = x.detach().flatten(1).mean(1, keepdim=True) < 0.5
        if self.masks:
            total = torch.where(dark, total.detach() + 0 * total, total)
        if self.lost:
            total = total + 0 * (total - total + ~dark).sqrt()  # the root has no slope at 0
        return torch.cat([total, 2 - total], 1)


class Flat(Purifier):
    """Claims an exact gradient, which is zero."""

    traits = Traits(exact=True)

    def forward(self, x: Tensor) -> Tensor:
        return (x * 7).round() / 7


class Grainy(Purifier):
    """Random; half of the draws pass no gradient."""

    traits = Traits(random=True)

    def forward(self, x: Tensor) -> Tensor:
        passes = torch.arange(len(x)).view(-1, 1, 1, 1) < len(x) // 2
        return torch.where(passes, x, x.detach() + 0 * x)


def images() -> Tensor:
    """Three dark images and three light ones, no two near each other."""
    levels = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]).view(-1, 1, 1, 1)
    return levels.expand(-1, 1, 2, 2).clone()


def bare(module: nn.Module, *purifiers: Purifier) -> Defense:
    return Defense(Network(module, "classifier"), purifiers)


def look(defense: Defense, x: Tensor) -> None:
    """One gradient of the logits at x, as a library would take it."""
    point = x.clone().requires_grad_()
    with torch.enable_grad():
        torch.autograd.grad(defense.logits(point)[:, 0].sum(), point)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [5, 0, 4], [2], [4, 3, 1, 1, 0]])
def test_a_gradient_belongs_to_the_image_that_it_was_asked_for(rows: list[int]) -> None:
    x = images()
    for module, place in ((Linear(masks=True), 0), (Linear(lost=True), 1)):
        defense = bare(module)
        with watched(defense, x) as doors:
            look(defense, x[rows] + 0.02)
        share = hidden(doors)[place]
        assert share.tolist() == [float(i < 3 and i in rows) for i in range(IMAGES)]
        assert not hidden(doors)[1 - place].any()
        assert not defense.classifier._forward_pre_hooks


def test_a_share_is_of_all_looks() -> None:
    x = images()
    module = Linear(masks=True)
    with watched(defense := bare(module), x) as doors:
        look(defense, x)
        module.masks = False
        look(defense, x[1:])
        look(defense, x[2:])
        look(defense, x[2:])
    assert hidden(doors)[0].tolist() == [1, 0.5, 0.25, 0, 0, 0]


@pytest.mark.parametrize("chunk", [32, 64, 256])
def test_every_draw_counts_whatever_the_chunk_of_a_call(chunk: int) -> None:
    x, defense = images(), bare(Linear(), Grainy())
    y, draws = torch.zeros(IMAGES, dtype=torch.long), 40
    with watched(defense, x) as doors, chunk_size(chunk):
        look(defense, repeat(x, draws))
        classifier_slope(defense, repeat(x, draws), repeat(y, draws), "ce")
    assert hidden(doors)[0].tolist() == [0.5] * IMAGES
    (behind, purifier) = (door.counts for door in doors)
    assert behind.tolist() == [[2 * draws] * IMAGES, [0] * IMAGES, [0] * IMAGES]
    assert purifier[0].tolist() == [draws] * IMAGES


def test_what_a_purifier_hides_is_seen_though_the_classifier_shows_it() -> None:
    x = images()
    for defense, zero in ((bare(Linear(), Flat()), 1.0), (bare(Linear()), 0.0)):
        with watched(defense, x) as doors:
            look(defense, x)
        assert hidden(doors)[0].tolist() == [zero] * IMAGES


def test_watching_changes_no_gradient_and_leaves_nothing_behind() -> None:
    x = images()
    defense = bare(Linear(), Flat())
    plain, seen = x.clone().requires_grad_(), x.clone().requires_grad_()
    defense.classifier(plain)[:, 0].pow(2).sum().backward()
    with watched(defense, x), torch.enable_grad():
        defense.classifier(seen)[:, 0].pow(2).sum().backward()
        by_function = torch.func.grad(lambda z: defense.classifier(z)[:, 0].pow(2).sum())(x)
        with torch.no_grad():
            defense.logits(x)
            defense.classifier(x=x)
    assert plain.grad is not None
    assert torch.equal(plain.grad, seen.grad)  # type: ignore[arg-type]
    assert torch.equal(plain.grad, by_function)
    for module in (defense.classifier, *defense.purifiers):
        assert not module._forward_pre_hooks


@dataclass(frozen=True)
class Silent:
    """One step along the gradient, and not a word on it; traced: a trace of its own."""

    traced: bool = False

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        look(defense, x)
        ones = torch.ones(1, len(x))
        return Attacked(x, trace=Trace(ones, ones) if self.traced else None)


def test_a_record_says_what_was_hidden_where_the_attack_does_not() -> None:
    x = images()
    y = torch.zeros(IMAGES, dtype=torch.long)
    masked, open_ = bare(Linear(masks=True)), bare(Linear())
    assert evaluate(masked, Silent(), x, y, BALL).trace == {
        "zero_gradients": (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    }
    assert evaluate(bare(Linear(lost=True)), Silent(), x, y, BALL).trace == {
        "nan_gradients": (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    }
    # What came later is written only where it holds something.
    assert evaluate(open_, Silent(), x, y, BALL).trace == {}
    told = evaluate(masked, Silent(traced=True), x, y, BALL).trace
    assert told["zero_gradients"] == (0.0,) * IMAGES
