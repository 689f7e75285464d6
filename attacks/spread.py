"""How much chance is left in a mean gradient: whether so many EOT draws suffice for its signs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Spread(NamedTuple):
    """Of the draws of one look, [B] each, all of them finite.

    variance: the part of a draw's mean squared length that is variance, from 0 to 1. cosine:
    between the means of the first and of the second half. turning: the part of all signs that
    twice as many draws would turn.
    """

    variance: Tensor
    cosine: Tensor
    turning: Tensor


def spread(gradients: Tensor) -> Spread | None:
    """What gradients [draws,B,...] say of their mean; nothing of a single draw.

    Counted are the signs that differ between the mean of either half of the draws and that of all.
    Of Gaussian numbers with correlation r, acos(r) / pi differ in sign: that gives the signal
    beside the noise of one draw, and with it the correlation of the means of n and of 2n draws.
    """
    draws = len(gradients)
    if draws < 2:
        return None
    flat = gradients.flatten(2)
    mean, half = flat.mean(0), draws // 2
    halves = torch.stack([flat[:half].mean(0), flat[draws - half :].mean(0)])
    noise = (flat - mean).square().sum((0, 2)) / (draws - 1)
    signal = mean.square().sum(1)
    turned = (halves.sign() != mean.sign()).float().mean((0, 2))
    found = (
        noise / (noise + signal).clamp_min(torch.finfo(flat.dtype).tiny),
        F.cosine_similarity(halves[0], halves[1], dim=1).clamp(-1, 1),
        _doubled(turned, half, draws),
    )
    return Spread(*(part.nan_to_num(0.0, 0.0, 0.0) for part in found))


def _doubled(turned: Tensor, fewer: int, draws: int) -> Tensor:
    """The share of signs that 2n draws turn, where n turned that share of those of fewer, [B]."""
    alike = (math.pi * turned).cos().square()
    signal = ((alike / fewer - 1 / draws) / (1 - alike).clamp_min(1e-12)).clamp_min(0)
    alike = (signal + 1 / (2 * draws)) / (signal + 1 / draws)
    return (alike.sqrt().acos() / math.pi).where(turned > 0, torch.zeros_like(turned))
