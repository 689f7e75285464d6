"""Weather: [B,H,W,3] in [0,1], severity 1 to 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import hsv2rgb, rgb2hsv

from bench.data.corruptions.blur import streak, zoom

if TYPE_CHECKING:
    from bench.data.corruptions import Array

_LUMA = np.array([0.299, 0.587, 0.114])
_ICE = np.array([0.88, 0.97, 1.0])


def snow(x: Array, severity: int) -> Array:
    """Whitened image under two layers of streaked flakes, one turned by 180 degrees."""
    mean, std, factor, least, radius, sigma, keep = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[severity - 1]
    flakes = zoom(np.random.normal(size=(*x.shape[:3], 1), loc=mean, scale=std), factor)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = streak(flakes, radius, sigma, np.random.uniform(-135, -45, size=len(x)))
    white = np.maximum(x, (x @ _LUMA)[..., None] * 1.5 + 0.5)
    snowy: Array = keep * x + (1 - keep) * white + flakes + flakes[:, ::-1, ::-1]
    return snowy


def frost(x: Array, severity: int) -> Array:
    """A darkened image under a texture of ice.

    The published files use photographs of frost; here the texture is ridged fractal noise,
    bluish white, its mean .5 in every image so that only the severity decides how much.
    """
    keep, ice = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    height, width = x.shape[1:3]
    ridges = np.stack([1 - np.abs(2 * fractal(height, width, 1.6) - 1) for _ in x]) ** 2
    ridges *= 0.5 / ridges.mean((1, 2), keepdims=True)
    icy: Array = keep * x + ice * ridges[..., None] * _ICE
    return icy


def fog(x: Array, severity: int) -> Array:
    """Added fractal haze, rescaled to the image's own maximum."""
    strength, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
    top = x.max((1, 2, 3), keepdims=True)
    height, width = x.shape[1:3]
    haze = np.stack([fractal(height, width, decay) for _ in x])[..., None]
    hazy: Array = (x + strength * haze) * top / np.maximum(top + strength, 1e-12)
    return hazy


def brightness(x: Array, severity: int) -> Array:
    """V of HSV raised."""
    hsv = rgb2hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1], 0, 1)
    bright: Array = hsv2rgb(hsv)
    return bright


def fractal(height: int, width: int, decay: float) -> Array:
    """Diamond-square noise [height,width] in [0,1]; each octave is `decay` squared weaker.

    The map is periodic, with a side of the power of two that covers the image.
    """
    side = 1 << (max(height, width) - 1).bit_length()
    out = np.zeros((side, side))
    step, swing = side, 100.0

    def jitter(total: Array) -> Array:
        # The published code scales noise in [-swing, swing] by swing once more.
        return total / 4 + swing * np.random.uniform(-swing, swing, total.shape)

    while step >= 2:
        half = step // 2
        corner = out[::step, ::step]
        pair = corner + np.roll(corner, -1, 0)
        out[half::step, half::step] = jitter(pair + np.roll(pair, -1, 1))
        middle = out[half::step, half::step]
        vertical = middle + np.roll(middle, 1, 0)
        out[::step, half::step] = jitter(vertical + corner + np.roll(corner, -1, 1))
        horizontal = middle + np.roll(middle, 1, 1)
        out[half::step, ::step] = jitter(horizontal + corner + np.roll(corner, -1, 0))
        step, swing = half, swing / decay
    out -= out.min()
    scaled: Array = (out / out.max())[:height, :width]
    return scaled
