from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.api.ball import ThreatModel
from bench.api.ssim import C1, C2, SIGMA, ssim

GREY = st.floats(0, 1)


@given(GREY, GREY)
def test_of_plain_images_only_luminance_counts(a: float, b: float) -> None:
    x, y = (torch.full((2, 3, 13, 12), grey, dtype=torch.double) for grey in (a, b))
    expected = (2 * a * b + C1) / (a * a + b * b + C1)
    assert ssim(x, y).tolist() == pytest.approx([expected] * 2)


def test_an_image_is_most_like_itself_and_least_like_its_negative() -> None:
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 4)
    assert (ssim(x, 1 - x) < 0).all()
    torch.testing.assert_close(ssim(x, 1 - x), ssim(1 - x, x))


def test_the_index_is_the_mean_over_windows_around_every_pixel() -> None:
    """By hand on images of 3 pixels: windows of 3, whose border goes on outside."""
    torch.manual_seed(1)
    x, y = torch.rand(2, 3, 3, dtype=torch.double)
    line = (-torch.tensor([1.0, 0, 1], dtype=torch.double) / (2 * SIGMA**2)).exp()
    weights = line[:, None] * line / line.sum() ** 2
    found = []
    for row in range(3):
        for column in range(3):
            rows = torch.tensor([row - 1, row, row + 1]).clamp(0, 2)
            columns = torch.tensor([column - 1, column, column + 1]).clamp(0, 2)
            a, b = x[rows][:, columns], y[rows][:, columns]
            p, q = (weights * a).sum(), (weights * b).sum()
            spread = (weights * (a - p) ** 2).sum() + (weights * (b - q) ** 2).sum()
            both = (weights * (a - p) * (b - q)).sum()
            luminance = (2 * p * q + C1) / (p * p + q * q + C1)
            found.append(luminance * (2 * both + C2) / (spread + C2))
    assert ssim(x[None, None], y[None, None]).item() == pytest.approx(float(sum(found)) / 9)


def test_the_threat_ends_where_the_similarity_does() -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    apart = 1 - ssim(y, x).item()
    assert ThreatModel("ssim", apart + 1e-4).contains(y, x).all()
    assert not ThreatModel("ssim", apart - 1e-4).contains(y, x).any()
    assert not ThreatModel("ssim", 1.0).contains(1.5 * y, x).any()
