"""Noise, independent in every pixel and channel: [B,H,W,3] in [0,1], severity 1 to 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.data.corruptions import Array


def gaussian_noise(x: Array, severity: int) -> Array:
    """Added normal noise."""
    std = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return x + np.random.normal(size=x.shape, scale=std)


def shot_noise(x: Array, severity: int) -> Array:
    """Poisson counts of so many photons at white."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return np.random.poisson(x * photons) / photons


def impulse_noise(x: Array, severity: int) -> Array:
    """Values replaced by 0 or 1, as often by either."""
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    hit = np.random.uniform(size=x.shape) < amount
    salt = np.random.uniform(size=x.shape) < 0.5
    return np.where(hit, salt.astype(np.float64), x)


def speckle_noise(x: Array, severity: int) -> Array:
    """Normal noise in proportion to the value."""
    std = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    return x + x * np.random.normal(size=x.shape, scale=std)
