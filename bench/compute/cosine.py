"""The cosine transform of images."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


@cache
def basis(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix [size,size]: one frequency per row."""
    positions = (torch.arange(size, dtype=torch.double) + 0.5) * math.pi / size
    rows = torch.cos(torch.arange(size, dtype=torch.double)[:, None] * positions)
    rows[0] *= math.sqrt(0.5)
    return rows * math.sqrt(2 / size)
