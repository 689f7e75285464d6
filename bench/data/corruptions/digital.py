"""Digital corruptions: [B,H,W,3] in [0,1], severity 1 to 5."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv

if TYPE_CHECKING:
    from bench.data.corruptions import Array


def contrast(x: Array, severity: int) -> Array:
    """Deviations from the mean of each channel shrunk."""
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    mean = x.mean((1, 2), keepdims=True)
    flat: Array = (x - mean) * factor + mean
    return flat


def saturate(x: Array, severity: int) -> Array:
    """S of HSV scaled and shifted."""
    factor, shift = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    hsv = rgb2hsv(x)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + shift, 0, 1)
    saturated: Array = hsv2rgb(hsv)
    return saturated


def pixelate(x: Array, severity: int) -> Array:
    """Shrunk and enlarged by box averages."""
    scale = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    h, w = x.shape[1:3]
    box = Image.Resampling.BOX
    small = (int(w * scale), int(h * scale))
    return _each(x, lambda image: image.resize(small, box).resize((w, h), box))


def jpeg_compression(x: Array, severity: int) -> Array:
    """JPEG of falling quality."""
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def squeeze(image: Image.Image) -> Image.Image:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _each(x, squeeze)


def elastic_transform(x: Array, severity: int) -> Array:
    """A random affine map, then a smooth random displacement; both linear interpolation."""
    alpha, sigma, affine = (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    h, w = x.shape[1:3]
    unit = min(h, w)
    maps, shifts = [], []
    for _ in x:
        maps.append(_affine(h, w, affine * unit))
        noise = np.random.uniform(-1, 1, size=(2, h, w))
        smooth = ndimage.gaussian_filter(noise, (0, sigma * unit, sigma * unit), truncate=3)
        shifts.append(smooth * alpha * unit)
    rows, columns = np.stack(maps, 1)
    moved = _sample(x, rows, columns, edge=1)
    across, down = np.stack(shifts, 1)
    return _sample(moved, np.arange(h)[:, None] + down, np.arange(w) + across, edge=0)


def _affine(h: int, w: int, size: float) -> NDArray[np.float64]:
    """Rows and columns [2,H,W] to read from, when three points move by up to `size` each."""
    centre, arm = np.array([h // 2, w // 2]), min(h, w) // 3
    before = centre + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + np.random.uniform(-size, size, size=before.shape)
    column = np.ones((3, 1))
    # The points are (column, row); the map goes back from the new position to the old one.
    back = np.linalg.solve(np.hstack([after, column]), before)
    rows, columns = np.mgrid[:h, :w]
    old = np.stack([columns, rows, np.ones((h, w))], -1) @ back
    return np.stack([old[..., 1], old[..., 0]])


def _sample(x: Array, rows: Array, columns: Array, edge: int) -> Array:
    """Bilinear values of [B,H,W,K] at rows, columns [B,H,W].

    Beyond the edge the image is mirrored, about its last pixel (edge 1) or its border (edge 0).
    """
    out = np.zeros_like(x)
    batch = np.arange(len(x))[:, None, None]
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = rows - top, columns - left
    for i, row_weight in ((top, 1 - down), (top + 1, down)):
        for j, column_weight in ((left, 1 - right), (left + 1, right)):
            at = x[batch, _mirror(i, x.shape[1], edge), _mirror(j, x.shape[2], edge)]
            out += (row_weight * column_weight)[..., None] * at
    return out


def _mirror(index: NDArray[np.int64], size: int, edge: int) -> NDArray[np.int64]:
    period = 2 * size - 2 * edge
    folded = index % period
    return np.where(folded < size, folded, period - 1 + edge - folded)


def _each(x: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """`change` on every image as bytes."""
    levels = np.round(x * 255).astype(np.uint8)
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in levels]) / 255
