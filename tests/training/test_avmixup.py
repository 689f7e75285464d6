"""AVmixup against the authors' numbers (Lee et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.models.nets.aid import Augment, Discriminator
from bench.training import avmixup
from bench.training.losses import ascend
from bench.training.merit import auroc
from tests.reference import tensors_of


class Replay(nn.Module):
    """Its gradient is, call after call, the next of `gradients`."""

    def __init__(self, gradients: Tensor) -> None:
        super().__init__()
        self.gradients = list(gradients)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = (x * self.gradients.pop(0)).sum()
        return value


def test_the_authors_mixing() -> None:
    golden = tensors_of("avmixup")
    gamma, right, other = golden["gamma_l1_l2"].tolist()
    x = golden["x"].double() / 255
    attacked = ascend(
        Replay(golden["grads"].double()),
        x,
        torch.zeros_like(x),
        lambda z: z,
        eps=8 / 255,
        steps=4,
        size=2 / 255,
    )
    weight, labels = golden["mix_weight"].flatten(), golden["y"].double()
    mixed = avmixup.between(x, avmixup.vertex(x, attacked - x, gamma), weight)
    assert (255 * mixed - golden["x_mixed"]).abs().max() < 1e-3
    ends = avmixup.smooth(labels, right), avmixup.smooth(labels, other)
    assert (avmixup.between(*ends, weight) - golden["y_mixed"]).abs().max() < 1e-6


def test_the_authors_label_smoothing() -> None:
    golden = tensors_of("avmixup")
    for right, wanted in zip((1, 0.9, 0.5, 0.1), golden["label_smoothing_1_09_05_01"], strict=True):
        assert (avmixup.smooth(golden["y"], right) - wanted).abs().max() < 1e-6


def test_weight_one_leaves_clean_images_and_labels() -> None:
    x, other = torch.rand(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    assert torch.equal(avmixup.between(x, other, torch.ones(3)), x)
    assert torch.equal(avmixup.between(x, other, torch.tensor([1.0, 0, 1]))[1], other[1])


def test_the_papers_vertex_may_leave_the_range() -> None:
    x, delta = torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.1)
    assert avmixup.vertex(x, delta, 2).item() == 1
    assert avmixup.vertex(x, delta, 2, clip=False).item() == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("augment", "reach", "mixed"),
    [("avmixup", 2.0, True), ("mixup", 1.0, True), ("av", 2.0, False), ("none", 1.0, False)],
)
def test_what_a_discriminator_is_shown(
    augment: Augment, reach: float, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the clean image and one so many perturbations away, or these two alone."""
    shown: list[Tensor] = []

    def told(module: nn.Module, maps: Sequence[Tensor], weight: Tensor) -> Tensor:
        shown.append(weight)
        return weight.sum()

    def seen(classifier: nn.Module, x: Tensor, taps: Sequence[str]) -> list[Tensor]:
        shown.append(x)
        return []

    x = torch.full((4, 1, 2, 2), 0.5)
    monkeypatch.setattr(avmixup, "_pgd", lambda *more, **settings: torch.full_like(x, 0.1))
    monkeypatch.setattr(avmixup, "pooled", seen)
    monkeypatch.setattr(avmixup, "verdict", told)
    loss = avmixup.discriminate(nn.Identity(), 0.1, 0.1, gamma=2.0, augment=augment)
    loss(Discriminator(), x, torch.zeros(4, dtype=torch.long))
    images, weight = shown
    far = 0.5 + reach * 0.1
    wanted = weight * 0.5 + (1 - weight) * far
    torch.testing.assert_close(images, wanted.view(-1, 1, 1, 1).expand_as(images))
    if mixed:
        assert len(images) == 4
        assert ((weight > 0) & (weight < 1)).all()
    else:
        assert weight.tolist() == [1.0] * 4 + [0.0] * 4


def test_contrast_pairs_the_maps_of_two_images(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def verdict(module: nn.Module, maps: Sequence[Tensor], weight: Tensor) -> Tensor:
        told.extend((*maps, weight))
        return weight.sum()

    maps = [torch.arange(3.0)[:, None], 10 + torch.arange(3.0)[:, None]]
    monkeypatch.setattr(avmixup, "pooled", lambda *more: maps)
    monkeypatch.setattr(avmixup, "verdict", verdict)
    labels = torch.zeros(3, dtype=torch.long)
    avmixup.contrast(nn.Identity())(Discriminator(), torch.rand(3, 1, 2, 2), labels)
    low, high, weight = told
    assert low.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert high.flatten().tolist() == [10, 11, 12, 12, 10, 11]
    assert weight.tolist() == [1, 1, 1, 0, 0, 0]


def test_auroc_by_hand() -> None:
    assert auroc(torch.tensor([2.0, 3]), torch.tensor([0.0, 1])) == 1
    assert auroc(torch.tensor([1.0, 3]), torch.tensor([1.0, 2])) == pytest.approx(2.5 / 4)
