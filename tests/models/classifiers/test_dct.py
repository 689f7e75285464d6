"""The DCT classifier: what its augmentation takes, and its activation; scipy's transform agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft
from torch import Tensor

from bench.models.classifiers.dct import LARGEST, LUMA, augmented, without_detail
from bench.models.nets import make
from bench.models.nets.resnet import rectified


def luma(x: Tensor) -> Tensor:
    return (x * torch.tensor(LUMA).view(-1, 1, 1)).sum(1)


def middling(count: int = 5) -> Tensor:
    """Images whose detail can be taken without leaving [0,1]."""
    torch.manual_seed(0)
    return 0.4 + 0.2 * torch.rand(count, 3, 12, 16)


def test_luminance_loses_small_coefficients_and_colours_nothing() -> None:
    x, threshold = middling(), torch.tensor([0.0, 0.02, 0.05, 0.1, 0.3])
    made = without_detail(x, threshold)
    for image, coarse, t in zip(x, made, threshold.tolist(), strict=True):
        before = fft.dctn(luma(image[None])[0].numpy(), norm="ortho")
        after = fft.dctn(luma(coarse[None])[0].numpy(), norm="ortho")
        np.testing.assert_allclose(after, np.where(np.abs(before) < t, 0, before), atol=1e-5)
    torch.testing.assert_close(made - luma(made)[:, None], x - luma(x)[:, None])
    torch.testing.assert_close(made[0], x[0])
    assert not torch.equal(made[4], x[4])


def test_grey_images_are_their_own_luminance() -> None:
    x = middling()[:, :1]
    made = without_detail(x, torch.full((len(x),), 100.0))
    torch.testing.assert_close(made, torch.zeros_like(x))


def test_about_half_of_the_images_are_changed_each_at_a_threshold_of_its_own() -> None:
    x = middling(1).expand(400, -1, -1, -1)
    torch.manual_seed(1)
    taken = (augmented(x) - x).square().flatten(1).sum(1)
    most = (without_detail(x[:1], torch.tensor([LARGEST])) - x[:1]).square().sum()
    assert 150 < (taken > 1e-9).sum() < 250
    assert taken.max() <= most + 1e-6
    assert len(set(taken[taken > 1e-9].tolist())) > 50


@pytest.mark.parametrize(("x", "y"), [(-1.0, 0.0), (3.0, 3.0), (10.0, 10.0), (30.0, 11.0)])
def test_an_activation_bends_at_ten(x: float, y: float) -> None:
    at = torch.tensor(x, requires_grad=True)
    made = rectified(at, 10.0)
    torch.testing.assert_close(made, torch.tensor(y))
    (slope,) = torch.autograd.grad(made, at)
    assert slope == (0.05 if x > 10 else float(x > 0)) or x == 10


def test_a_network_of_low_pass_activations_differs_where_they_are_large() -> None:
    size = {"blocks": [1, 1], "width": 8, "classes": 3}
    plain, low = (make("resnet-projected", {**size, "cut": cut}).eval() for cut in (0.0, 0.5))
    low.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 8, 8)
    assert not torch.equal(plain(x), low(x))
    torch.testing.assert_close(plain(0 * x), low(0 * x))
