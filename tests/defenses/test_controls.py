"""The controls against linear algebra, scipy and what JPEG must do."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from bench.api import Context, find_defense
from bench.api.context import Weights
from bench.api.purifier import Purifier
from bench.errors import BenchError
from bench.spec import parse_part
from defenses.controls import Gaussian, Jpeg, Median, Wiener
from defenses.none import Nothing

SHAPE = (3, 6, 6)


def images(count: int) -> Tensor:
    """Smooth random images."""
    torch.manual_seed(0)
    small = torch.rand(count, 3, 3, 3)
    return torch.nn.functional.interpolate(small, size=SHAPE[1:], mode="bilinear")


def test_none_is_the_identity() -> None:
    x = images(2)
    assert torch.equal(Nothing()(x), x)
    assert find_defense("none").traits({}).identity


def test_wiener_is_ridge_regression_onto_the_clean_image() -> None:
    """With noise of covariance sigma^2 I, least squares from noisy to clean gives the filter."""
    train, sigma = images(400).double(), 0.2
    wiener = Wiener(train, sigma).double()
    flat = train.flatten(1)
    centred = flat - flat.mean(0)
    # min_W E ||W (c + n) - c||^2 = ridge regression of c on itself with penalty N sigma^2.
    size = flat.shape[1]
    stacked = torch.cat([centred, (len(flat) ** 0.5) * sigma * torch.eye(size).double()])
    target = torch.cat([centred, torch.zeros(size, size).double()])
    ridge = torch.linalg.lstsq(stacked, target).solution
    torch.testing.assert_close(wiener.filter, ridge, rtol=0, atol=1e-8)
    torch.testing.assert_close(wiener.mean, flat.mean(0))
    mean = flat.mean(0).view(1, *SHAPE)
    torch.testing.assert_close(wiener(mean), mean)


def test_wiener_denoises() -> None:
    x = images(300)
    wiener = Wiener(x, 0.1)
    noisy = x + 0.1 * torch.randn_like(x)
    assert (wiener(noisy) - x).square().mean() < 0.5 * (noisy - x).square().mean()


def test_wiener_of_little_noise_changes_little() -> None:
    x = torch.rand(500, *SHAPE)
    torch.testing.assert_close(Wiener(x, 1e-3)(x), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [3, 5])
def test_median_equals_scipy(size: int) -> None:
    x = torch.rand(2, *SHAPE)
    expected = ndimage.median_filter(x.numpy(), size=(1, 1, size, size), mode="mirror")
    torch.testing.assert_close(Median(size)(x), torch.from_numpy(expected))


def test_median_passes_its_gradient_to_the_middle_pixel() -> None:
    x = torch.rand(1, 1, 5, 5, requires_grad=True)
    out = Median(3)(x)
    (gradient,) = torch.autograd.grad(out[0, 0, 2, 2], x)
    assert gradient.sum() == 1
    assert x[gradient == 1] == out[0, 0, 2, 2]


def test_even_windows_are_refused() -> None:
    plugin = find_defense("median")
    with pytest.raises(BenchError, match="not odd"):
        plugin.factory(None, size=4)


def test_gaussian_has_its_level() -> None:
    torch.manual_seed(0)
    x = torch.full((50, *SHAPE), 0.5)
    assert abs((Gaussian(0.05)(x) - x).std().item() - 0.05) < 0.002


def test_jpeg_keeps_more_at_higher_quality_and_ends_on_the_grid() -> None:
    x = images(8)
    errors = [(Jpeg(quality)(x) - x).square().mean().item() for quality in (10, 40, 70, 95)]
    assert errors == sorted(errors, reverse=True)
    out = Jpeg(30)(x)
    torch.testing.assert_close(out * 255, (out * 255).round())


def test_jpeg_of_a_file_is_stable_for_grey_images() -> None:
    x = torch.full((2, 1, 16, 16), 100 / 255)
    assert torch.equal(Jpeg(50)(x), x)


def test_batches_change_nothing() -> None:
    x = images(5)
    purifiers: list[Purifier] = [Wiener(images(100), 0.1), Median(3), Jpeg(30), Nothing()]
    for purifier in purifiers:
        alone = torch.cat([purifier(image[None]) for image in x])
        torch.testing.assert_close(purifier(x), alone, rtol=0, atol=1e-6)


def test_factories_take_their_settings() -> None:
    context = Context("", SHAPE, 2, torch.device("cpu"), _no_weights, lambda: images(60))
    for text in ("none", "wiener:sigma=0.2", "median:size=5", "gaussian:runs=3", "jpeg:quality=9"):
        part = parse_part(text)
        plugin = find_defense(part.name)
        settings = dict(plugin.resolve(part, "").settings)
        out = plugin.factory(context, **settings)(images(2))
        assert out.shape == (2, *SHAPE)
    settings = dict(find_defense("gaussian").resolve(parse_part("gaussian:runs=3"), "").settings)
    assert find_defense("gaussian").traits(settings).runs == 3
    assert not find_defense("jpeg").traits({}).exact


def _no_weights(name: str) -> Weights:
    raise AssertionError(f"no weights are needed, yet {name} was asked for")
