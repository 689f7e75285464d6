"""The discretised mixture of logistics (Salimans et al. 2017, Eqs. 2-3), at any number of levels.

Level k of L is the value 2k/(L-1) - 1 in [-1,1]. `params` are a PixelCNN++'s output, [B,10K,...]
for three channels (K logits; then per channel K means, K log scales, K coefficients) and [B,3K,...]
for one (K logits, K means, K log scales); `...` are any positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_SCALE_MIN = -7.0
FAR = 1e6
"""Stands for infinity as the edge of an end level: infinite edges have no gradient."""


@dataclass(frozen=True)
class Mixture:
    """`params` taken apart: log_weight [B,K,...]; mean, log_scale [B,C,K,...]; coeff [B,3,K,...].

    coeff: what red adds to green, red to blue, green to blue; None for one channel.
    """

    log_weight: Tensor
    mean: Tensor
    log_scale: Tensor
    coeff: Tensor | None

    @classmethod
    def of(cls, params: Tensor, channels: int) -> Mixture:
        """From a network's output."""
        k = params.shape[1] // (10 if channels == 3 else 3)
        logits, rest = params[:, :k], params[:, k:]
        each = 3 if channels == 3 else 2
        rest = rest.reshape(len(rest), channels, each, k, *rest.shape[2:])
        coeff = rest[:, :, 2].tanh() if channels == 3 else None
        scale = rest[:, :, 1].clamp_min(LOG_SCALE_MIN)
        return cls(logits.log_softmax(1), rest[:, :, 0], scale, coeff)

    def centre(self, channel: int, x: Tensor) -> Tensor:
        """Means of `channel` [B,K,...] where the earlier channels of `x` [B,C,...] are known."""
        mean = self.mean[:, channel]
        if self.coeff is None or channel == 0:
            return mean
        if channel == 1:
            return mean + self.coeff[:, 0] * x[:, :1]
        return mean + self.coeff[:, 1] * x[:, :1] + self.coeff[:, 2] * x[:, 1:2]


def to_level(x: Tensor, levels: int) -> Tensor:
    """The nearest level, int64, of images in [0,1]."""
    return (x.clamp(0, 1) * (levels - 1)).round().long()


def to_value(level: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """The value in [-1,1] of a level."""
    return level.to(dtype) * (2 / (levels - 1)) - 1


def log_interval(low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of [low, high] under a logistic, exact and stable at any scale.

    sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)). The published code puts a
    density times a width in the place of what it finds below 1e-5.
    """
    per_unit = (-log_scale).exp()
    a, b = (low - mean) * per_unit, (high - mean) * per_unit
    return F.logsigmoid(b) + F.logsigmoid(-a) + (-torch.expm1(a - b)).log()


def log_level(level: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log probability of `level` by the discretisation of PixelCNN++: halfway to the neighbours."""
    value, half = to_value(level, levels, mean.dtype), 1 / (levels - 1)
    low = (value - half).masked_fill(level == 0, -FAR)
    high = (value + half).masked_fill(level == levels - 1, FAR)
    return log_interval(low, high, mean, log_scale)


def log_bin(level: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """The same by the published PixelDefend: L equal bins of [-1,1], the outer ones open.

    Where a bin gets less than 1e-5, the density at its middle times 2/(L-1).
    """
    per_unit = (-log_scale).exp()
    low = level.to(mean.dtype) * (2 / levels) - 1
    high = low + 2 / levels
    a, b = (low - mean) * per_unit, (high - mean) * per_unit
    share = b.sigmoid() - a.sigmoid()
    z = (a + b) / 2
    density = z - log_scale - 2 * F.softplus(z) - math.log((levels - 1) / 2)
    inside = torch.where(share > 1e-5, share.clamp_min(1e-12).log(), density)
    ends = torch.where(level == 0, F.logsigmoid(b), F.logsigmoid(-a))
    return torch.where((level == 0) | (level == levels - 1), ends, inside)


def log_likelihood(params: Tensor, level: Tensor, levels: int) -> Tensor:
    """Natural log of p(pixel | pixels before it) [B,...] for int64 levels [B,C,...]."""
    channels = level.shape[1]
    mixture, x = Mixture.of(params, channels), to_value(level, levels, params.dtype)
    total = mixture.log_weight
    for c in range(channels):
        mean, scale = mixture.centre(c, x), mixture.log_scale[:, c]
        total = total + log_level(level[:, c : c + 1], mean, scale, levels)
    return total.logsumexp(1)


def bits_per_dim(params: Tensor, level: Tensor, levels: int) -> Tensor:
    """Bits per pixel and channel [B] of int64 levels [B,C,H,W]."""
    nats = -log_likelihood(params, level, levels).flatten(1).sum(1)
    return nats / (level[0].numel() * math.log(2))


def bin_log_weights(params: Tensor, level: Tensor, levels: int) -> Tensor:
    """log sum_k w_k p_k(bin) of all bins by `log_bin`, [B,C,L,...], given the earlier channels.

    Not normalised: where the density stands in, the bins do not sum to one.
    """
    channels = level.shape[1]
    mixture, x = Mixture.of(params, channels), to_value(level, levels, params.dtype)
    every = torch.arange(levels, device=params.device).view(1, 1, -1, *[1] * (level.dim() - 2))
    out = []
    for c in range(channels):
        mean, scale = mixture.centre(c, x)[:, :, None], mixture.log_scale[:, c][:, :, None]
        each = log_bin(every, mean, scale, levels) + mixture.log_weight[:, :, None]
        out.append(each.logsumexp(1))
    return torch.stack(out, 1)
