"""Augmentations and the losses around them: closed forms, and what they must leave alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from scipy import fft
from torch import Tensor, nn

from bench.api.images import DatasetInfo
from bench.models.nets.ncsnv2 import ladder
from bench.training import augment
from bench.training.recipes import recipe
from bench.training.recipes.noisy import SIGMAS, augmented

INFO = DatasetInfo("digits", "toy", (1, 16, 16), ("a", "b"), "linf:0.1")
ONE = torch.ones(1, 1, 1, 1)


def smooth(count: int = 6, channels: int = 3, size: int = 16) -> Tensor:
    torch.manual_seed(0)
    small = torch.rand(count, channels, 4, 4)
    return nn.functional.interpolate(small, size=(size, size), mode="bilinear")


# --- DCT ---------------------------------------------------------------------------------------


def test_dropping_nothing_or_everything() -> None:
    x = smooth()
    torch.testing.assert_close(augment.dct(x, 0.0), x)
    torch.testing.assert_close(augment.dct(x, 1.1), torch.zeros_like(x))


def test_the_smallest_coefficients_are_dropped_up_to_the_share() -> None:
    """Against scipy: what is left is the largest coefficients, and no more could be dropped."""
    x = smooth()
    before = torch.from_numpy(fft.dctn(x.numpy(), axes=(2, 3), norm="ortho")).flatten(1)
    after = fft.dctn(augment.dct(x, 0.05).numpy(), axes=(2, 3), norm="ortho")
    left = torch.from_numpy(after).flatten(1)
    for c, kept in zip(before, left, strict=True):
        dropped = kept.abs() < 1e-4 * c.abs().max()
        torch.testing.assert_close(kept[~dropped], c[~dropped], rtol=0, atol=1e-4)
        sizes, total = c.abs(), c.abs().sum()
        assert sizes[dropped].sum() <= 0.05 * total + 1e-3
        assert sizes[dropped].sum() + sizes[~dropped].min() > 0.05 * total
        assert sizes[dropped].max() <= sizes[~dropped].min() + 1e-4


def test_each_image_has_its_own_threshold() -> None:
    x = smooth()
    x[0] *= 0.1
    torch.testing.assert_close(augment.dct(x)[1:], augment.dct(x[1:]), rtol=0, atol=1e-6)


# --- AugMix ------------------------------------------------------------------------------------


def test_operations_by_hand() -> None:
    x = torch.tensor([0.2, 0.4, 0.4, 0.8]).view(1, 1, 2, 2)
    stretched = torch.tensor([0, 1 / 3, 1 / 3, 1]).view_as(x)
    torch.testing.assert_close(augment.autocontrast(x, ONE), stretched)
    ranks = torch.tensor([0, 2 / 3, 2 / 3, 1]).view_as(x)
    torch.testing.assert_close(augment.equalize(x, ONE), ranks)
    solarized = torch.tensor([0.2, 0.6, 0.6, 0.2]).view_as(x)
    torch.testing.assert_close(augment.solarize(x, -0.7 * ONE), solarized)
    two_bits = torch.tensor([0.0, 0.25, 0.25, 0.75]).view_as(x)
    torch.testing.assert_close(augment.posterize(x, 0.5 * ONE), two_bits)
    assert augment.posterize(torch.ones(1, 1, 1, 1), 0.5 * ONE).item() == 0.75


def test_images_without_contrast_are_left() -> None:
    x = torch.full((2, 1, 4, 4), 0.3)
    assert torch.equal(augment.autocontrast(x, ONE), x)


def test_movements_are_whole_pixels_where_they_should_be() -> None:
    x = smooth()
    strength = torch.full((len(x), 1, 1, 1), 3 / 16)  # a third of the side: one pixel of 16
    right = augment.translate_x(x, strength)
    torch.testing.assert_close(right[..., :-1], x[..., 1:], rtol=0, atol=1e-5)
    down = augment.translate_y(x, -strength)
    torch.testing.assert_close(down[:, :, 1:], x[:, :, :-1], rtol=0, atol=1e-5)
    quarter = augment.rotate(x, torch.full_like(strength, 3.0))
    torch.testing.assert_close(quarter, x.rot90(1, (2, 3)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("operation", augment.OPERATIONS, ids=lambda f: f.__name__)
def test_operations_stay_in_range_and_apart(operation: augment.Operation) -> None:
    x, strength = smooth(), torch.linspace(-0.3, 0.3, 6).view(-1, 1, 1, 1)
    out = operation(x, strength)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6
    torch.testing.assert_close(out[2:3], operation(x[2:3], strength[2:3]))
    if operation not in (augment.autocontrast, augment.equalize, augment.posterize):
        torch.testing.assert_close(operation(x, 0 * strength), x, rtol=0, atol=1e-6)


def test_augmix_is_a_mixture_in_range_and_repeats_with_the_seed() -> None:
    x = smooth(32)
    torch.manual_seed(1)
    one = augment.augmix(x)
    torch.manual_seed(1)
    assert torch.equal(augment.augmix(x), one)
    assert not torch.equal(augment.augmix(x), one)
    assert ((one >= 0) & (one <= 1 + 1e-6)).all()
    moved = (one - x).square().mean((1, 2, 3)).sqrt()
    assert moved.min() > 0
    assert 0.02 < moved.mean() < 0.2


def test_augmix_uses_nothing_that_the_corruption_attack_does() -> None:
    from bench.data.corruptions import EXTRA, KINDS

    assert not {operation.__name__ for operation in augment.OPERATIONS} & {*KINDS, *EXTRA}


# --- losses and recipes ------------------------------------------------------------------------


class Recorder(nn.Module):
    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer, self.seen = answer, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.answer


@pytest.mark.parametrize(("way", "target"), [(1.0, 0.5), (0.5, 0.6)])
def test_the_target_lies_at_the_image_or_half_way(way: float, target: float) -> None:
    """F adds .2: the perfect answer leads from what is seen to x (DCT) or the middle (AugMix)."""
    x, sigma = torch.full((4, 1, 3, 3), 0.5), 0.1
    loss = augment.denoising(lambda z: z + 0.2, way=way, begin=sigma, end=sigma, levels=1)
    torch.manual_seed(0)
    probe = Recorder(torch.zeros_like(x))
    loss(probe, x, x)
    perfect = Recorder((target - probe.seen) / sigma)
    torch.manual_seed(0)
    assert loss(perfect, x, x) < 1e-8


def test_the_recipes_take_their_smallest_level_from_the_noise_of_adp() -> None:
    seen: list[float] = []

    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((x - 0.5).flatten(1).std(1).min().item())
            return torch.zeros_like(x)

    x = torch.full((256, 1, 16, 16), 0.5)
    for name, low in (("score", 0.01), ("score-dct", 0.05)):
        torch.manual_seed(0)
        recipe(name, INFO).loss(Wide(), x, x)
        assert abs(seen[-1] / low - 1) < 0.2
    assert 2 * recipe("score-augmix", INFO).fit.steps == recipe("score", INFO).fit.steps
    assert float(ladder(0.5, 0.05, 20)[-1]) == pytest.approx(0.05)


def test_noisy_training_sees_clipped_noise_of_the_level_of_smoothing() -> None:
    from bench.api import find_defense
    from bench.spec import parse_part

    for dataset, sigma in SIGMAS.items():
        settings = find_defense("smoothing").resolve(parse_part("smoothing"), dataset).settings
        assert dict(settings)["sigma"] == sigma
    x = torch.full((64, 1, 16, 16), 0.5)
    probe = Recorder(torch.zeros(64, 2))
    augmented(0.1)(probe, x, torch.zeros(64).long())
    assert abs((probe.seen - x).std() / 0.1 - 1) < 0.05
    augmented(3.0)(probe, x, torch.zeros(64).long())
    assert (probe.seen.min().item(), probe.seen.max().item()) == (0, 1)


def test_the_merit_of_noisy_says_what_noise_costs() -> None:
    plan = recipe("noisy", replace(INFO, classes=("a", "b")))

    class Mean(nn.Module):
        """Right on clean images, a coin toss at .5 under noise."""

        def forward(self, x: Tensor) -> Tensor:
            first = x[:, 0, 0, 0]
            return torch.stack([0.5 - first, first - 0.5], 1)

    y = torch.arange(200) % 2
    x = (0.49 + 0.02 * y).view(-1, 1, 1, 1).float().expand(200, 1, 16, 16)
    merit = plan.merit(Mean(), x, y)
    assert set(merit) == {"noise@0.25", "clean", "pgd40@0.125"}
    assert (merit["clean"], merit["pgd40@0.125"]) == (100, 0)
    assert 35 < merit["noise@0.25"] < 65
    assert json.dumps(merit)
