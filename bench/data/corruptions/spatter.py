"""Spatter: drops of water or mud, [B,H,W,3] in [0,1], severity 1 to 5.

The published code draws water with functions of OpenCV; they are written out here: the edges of
Canny with its sector rule, a 5x5 chamfer distance, histogram equalisation on bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from bench.data.corruptions import Array

    Bytes = NDArray[np.uint8]

_WATER = np.array([175, 238, 238]) / 255
_MUD = np.array([63, 42, 20]) / 255
_LOW, _HIGH = 50, 150
"""Of Canny's hysteresis, on |dx| + |dy| of Sobel's kernels."""
_TANGENT = np.tan(np.pi / 8)
_FAR = 20
"""Distances are cut here."""
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(x: Array, severity: int) -> Array:
    """Water (severities 1 to 3) or mud (4 and 5) where smooth noise is above a threshold."""
    mean, std, sigma, least, strength, mud = (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    )[severity - 1]
    liquid = np.random.normal(size=x.shape[:3], loc=mean, scale=std)
    liquid = ndimage.gaussian_filter(liquid, (0, sigma, sigma), mode="nearest")
    liquid[liquid < least] = 0
    if mud:
        drops = np.where(liquid > least, 1.0, 0.0)
        mask = ndimage.gaussian_filter(drops, (0, strength, strength), mode="nearest")
        mask = np.where(mask < 0.8, 0, mask)[..., None]
        muddy: Array = x * (1 - mask) + mask * _MUD
        return muddy
    shine = np.stack([_shine((image * 255).astype(np.uint8)) for image in liquid])
    top = shine.max((1, 2), keepdims=True)
    wet: Array = x + (strength * shine / np.where(top, top, 1))[..., None] * _WATER
    return wet


def _shine(liquid: Bytes) -> Array:
    """How the drops of one image [H,W] catch light."""
    distance = np.minimum(_distance(_edges(liquid)), _FAR)
    depth = (ndimage.uniform_filter(distance, 3, mode="mirror") + 1e-6).astype(np.uint8)
    relief = ndimage.correlate(_equalised(depth).astype(np.int64), _RELIEF, mode="mirror")
    smooth = np.rint(
        ndimage.uniform_filter(np.clip(relief, 0, 255).astype(float), 3, mode="mirror")
    )
    shine: Array = liquid * smooth
    return shine


def _edges(image: Bytes) -> NDArray[np.bool_]:
    """Canny's edges of bytes [H,W]."""
    wide = np.pad(image.astype(np.int64), 1, mode="edge")
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    dx, dy = (
        ndimage.correlate(wide, np.outer(*pair))[1:-1, 1:-1]
        for pair in ((smooth, slope), (slope, smooth))
    )
    size = np.abs(dx) + np.abs(dy)
    around = np.pad(size, 1)

    def neighbour(down: int, right: int) -> NDArray[np.int64]:
        h, w = size.shape
        return around[1 + down : 1 + down + h, 1 + right : 1 + right + w]

    flat, steep = np.abs(dy) < _TANGENT * np.abs(dx), np.abs(dy) > np.abs(dx) / _TANGENT
    rising = (dx < 0) != (dy < 0)
    # Of equal neighbours the first is kept, except across a diagonal.
    peak = np.where(rising, (size > neighbour(-1, 1)) & (size > neighbour(1, -1)), False)
    peak |= ~rising & (size > neighbour(-1, -1)) & (size > neighbour(1, 1))
    peak = np.where(steep, (size > neighbour(-1, 0)) & (size >= neighbour(1, 0)), peak)
    peak = np.where(flat, (size > neighbour(0, -1)) & (size >= neighbour(0, 1)), peak)
    weak = peak & (size > _LOW)
    joined, _ = ndimage.label(weak, np.ones((3, 3)))
    kept = np.unique(joined[weak & (size > _HIGH)])
    return np.isin(joined, kept[kept > 0])


def _distance(edges: NDArray[np.bool_]) -> Array:
    """To the nearest edge, by steps of (1,0), (1,1), (2,1) that cost 1, 1.4 and 2.1969."""
    rows, columns = np.nonzero(edges)
    if not len(rows):
        return np.full(edges.shape, np.inf)
    h, w = edges.shape
    a = np.abs(np.arange(h)[:, None, None] - rows)
    b = np.abs(np.arange(w)[None, :, None] - columns)
    long, short = np.maximum(a, b), np.minimum(a, b)
    mostly = 2.1969 * short + (long - 2 * short)
    other = 2.1969 * (long - short) + 1.4 * (2 * short - long)
    nearest: Array = np.where(long >= 2 * short, mostly, other).min(-1)
    return nearest


def _equalised(image: Bytes) -> Bytes:
    """Histogram equalisation of bytes [H,W]; the lowest level there becomes 0."""
    count = np.bincount(image.ravel(), minlength=256)
    first = int(count.nonzero()[0][0])
    if count[first] == image.size:
        return image
    rest = np.cumsum(count) - count[first]
    table = np.rint(np.clip(rest, 0, None) * (255 / (image.size - count[first])))
    equalised: Bytes = table.astype(np.uint8)[image]
    return equalised
