"""Blurs: [B,H,W,3] in [0,1], severity 1 to 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from bench.data.corruptions import Array


def gaussian_blur(x: Array, severity: int) -> Array:
    """Normal kernel, edges repeated."""
    return _gaussian(x, (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1])


def defocus_blur(x: Array, severity: int) -> Array:
    """A disc softened by a 3x3 normal kernel, edges mirrored."""
    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    grid = np.arange(-3, 4)
    disc = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float64)
    soft = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    kernel = ndimage.convolve(disc / disc.sum(), np.outer(soft, soft) / soft.sum() ** 2)
    blurred: Array = ndimage.correlate(x, kernel[None, :, :, None], mode="mirror")
    return blurred


def glass_blur(x: Array, severity: int) -> Array:
    """Pixels copied from a random neighbour above and to the left, between two normal blurs.

    The published code means to swap the two pixels, but copies one over the other. Its sources
    are never written before they are read, so that one gather does the same.
    """
    sigma, shift, times = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))[
        severity - 1
    ]
    b, h, w, _ = x.shape
    out = np.floor(_gaussian(x, sigma) * 255 + 1e-6) / 255
    rows = np.arange(h - shift, shift, -1)[None, :, None]
    columns = np.arange(w - shift, shift, -1)[None, None, :]
    size = (b, times, rows.size, columns.size)
    moves = np.random.randint(-shift, shift, size=(*size, 2))
    batch = np.arange(b)[:, None, None]
    for time in range(times):
        source = out[batch, rows + moves[:, time, ..., 1], columns + moves[:, time, ..., 0]]
        out[batch, rows, columns] = source
    return _gaussian(out, sigma)


def motion_blur(x: Array, severity: int) -> Array:
    """A one-sided normal streak at an angle in [-45, 45] degrees."""
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    return streak(x, radius, sigma, np.random.uniform(-45, 45, size=len(x)))


def zoom_blur(x: Array, severity: int) -> Array:
    """Mean of the image and its enlargements in steps of .01."""
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    return (x + sum(zoom(x, factor) for factor in factors)) / (len(factors) + 1)


def streak(x: Array, radius: int, sigma: float, degrees: NDArray[np.float64]) -> Array:
    """Motion blur of [B,H,W,K] with an angle for each image.

    2 radius + 1 taps lie one pixel apart on a ray from the pixel, rounded to whole pixels, with
    the weights of half a normal kernel; edges are repeated.
    """
    b, h, w, _ = x.shape
    taps = np.arange(2 * radius + 1)
    weight = np.exp(-(taps**2) / (2 * sigma**2))
    weight /= weight.sum()
    angle = np.deg2rad(degrees)[:, None, None]
    batch = np.arange(b)[:, None, None]
    rows, columns = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    out = np.zeros_like(x)
    for tap in taps[weight > 1e-6]:
        down = np.ceil(tap * np.sin(angle) - 0.5).astype(np.int64)
        right = np.ceil(tap * np.cos(angle) - 0.5).astype(np.int64)
        source = x[batch, np.clip(rows + down, 0, h - 1), np.clip(columns + right, 0, w - 1)]
        out += weight[tap] * source
    return out


def zoom(x: Array, factor: float) -> Array:
    """The middle of [B,H,W,K] enlarged linearly by `factor` to the same shape."""
    down, across = (_zoom_matrix(size, factor) for size in x.shape[1:3])
    enlarged: Array = np.einsum("ih,bhwk,jw->bijk", down, x, across, optimize=True)
    return enlarged


def _zoom_matrix(size: int, factor: float) -> NDArray[np.float64]:
    """The linear map [size,size] that crops size/factor from the middle and enlarges it."""
    part = int(np.ceil(size / factor))
    large = round(part * factor)
    trim = (large - size) // 2
    position = np.linspace(0, part - 1, large)[trim : trim + size]
    triangle = 1 - np.abs(position[:, None] - np.arange(part))
    matrix = np.zeros((size, size))
    start = (size - part) // 2
    matrix[:, start : start + part] = np.maximum(triangle, 0)
    return matrix


def _gaussian(x: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")
    return blurred
