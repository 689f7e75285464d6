"""The ball of a threat around images: inside or not, projection, random start, steepest step."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api.ssim import ssim
from bench.threat import CERTIFIED, FLOW, SSIM, Threat

TOLERANCE = 1e-6
HALVINGS = 60
"""More than the digits of a number."""
ROUNDED = 2.0**-25
"""By how much float32 rounds a pixel at most; of all pixels together often in one direction."""


class ThreatModel(Threat):
    """A threat that knows images: `norm`, `eps` and `aside` as in `Threat`."""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The norm of the perturbation, [B]; 1 - SSIM; l2 for `corruption` and `flow`."""
        delta = (x_adv - x).flatten(1)
        if self.norm in ("linf", "none", CERTIFIED):
            return delta.abs().amax(1)
        if self.norm == SSIM:
            return 1 - ssim(x_adv, x)
        size: Tensor = delta.norm(p=1 if self.norm == "l1" else 2, dim=1)
        return size

    def contains(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Which images are finite, in [0,1] and in the ball (within float rounding), bool [B].

        Of a flow is asked what any flow of that reach keeps: each value lies between the least and
        the greatest of the pixels around it.
        """
        flat = x_adv.flatten(1)
        valid = flat.isfinite().all(1) & (flat >= 0).all(1) & (flat <= 1).all(1)
        if self.norm == "corruption":
            return valid
        if self.norm == FLOW:
            return valid & self._reached(x_adv, x).flatten(1).all(1)
        slack = TOLERANCE if self.norm not in ("l2", "l1") else TOLERANCE * max(1.0, self.eps) * 10
        if self.norm == "l1":
            slack = max(slack, ROUNDED * flat.shape[1])
        return valid & (self.distance(x_adv, x) <= self.eps + slack)

    def _reached(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Which values lie between those of the pixels that a flow may read there, like x."""
        down, across = (ceil(self.eps * (side - 1) / 2 - TOLERANCE) for side in x.shape[2:])
        window = (2 * down + 1, 2 * across + 1)
        high, low = (F.max_pool2d(s * x, window, 1, (down, across)) for s in (1, -1))
        return (x_adv <= high + TOLERANCE) & (-x_adv <= low + TOLERANCE)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball, then of [0,1] (which keeps it in the ball).

        Within l1 the nearest of those in both: clipping throws away most of what is left of a few
        large values (Croce & Hein 2021, Mind the Box).
        """
        if self.norm == "l1":
            delta = x_adv - x
            room = torch.where(delta > 0, 1 - x, x)
            return (x + _onto_l1(delta, self.eps, room)).clamp(0, 1)
        return self.onto(x_adv, x).clamp(0, 1)

    def onto(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball alone, whatever its pixels."""
        delta = x_adv - x
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        elif self.norm == "l1":
            delta = _onto_l1(delta, self.eps)
        else:
            norms = _norms(delta)
            delta = delta * (self.eps / norms.clamp_min(self.eps or 1.0))
        moved: Tensor = x + delta
        return moved

    def random_start(self, x: Tensor) -> Tensor:
        """A uniform point of the ball, clipped to [0,1], from the global generator."""
        if self.norm == "linf":
            return (x + torch.empty_like(x).uniform_(-self.eps, self.eps)).clamp(0, 1)
        if self.norm == "l1":
            return (x + self.eps * _within_l1(x)).clamp(0, 1)
        direction = torch.randn_like(x)
        size = x[0].numel()
        radius = torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) ** (1 / size)
        return (x + self.eps * radius * direction / _norms(direction)).clamp(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit step that raises a linear loss most: the sign, or g / ||g||.

        In l1 that would be one pixel: the largest hundredth of all values take the same step, by
        their signs (after SLIDE, Tramer & Boneh 2019). 0 where g is 0, and for an image whose norm
        is not a number.
        """
        if self.norm == "linf":
            return gradient.sign()
        if self.norm == "l1":
            return _largest_signs(gradient)
        # The sign of NaN is 0 too.
        return (gradient / _norms(gradient).clamp_min(1e-12)).nan_to_num(0.0)


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = x.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (x.dim() - 1))


def _onto_l1(delta: Tensor, eps: float, room: Tensor | None = None) -> Tensor:
    """The nearest perturbation whose absolute values sum to eps at most, each within its `room`.

    All of them shrink by the same threshold, which halving finds; those below it become 0.
    """
    sizes = delta.flatten(1).abs()
    most = torch.full_like(sizes, torch.inf) if room is None else room.flatten(1)
    high = sizes.amax(1, keepdim=True)
    low = torch.zeros_like(high)

    def held(cut: Tensor) -> Tensor:
        return torch.minimum((sizes - cut).clamp_min(0), most)

    inside = held(low).sum(1, keepdim=True) <= eps
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = held(middle).sum(1, keepdim=True) > eps
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return delta.sign() * held(high.masked_fill(inside, 0)).view_as(delta)


def _within_l1(x: Tensor) -> Tensor:
    """A uniform point whose absolute values sum to 1 at most, like x."""
    sizes = torch.empty(len(x), x[0].numel() + 1, device=x.device, dtype=x.dtype).exponential_()
    shares = (sizes / sizes.sum(1, keepdim=True))[:, 1:].view_as(x)
    return shares * (2 * torch.randint_like(x, 2) - 1)


def _largest_signs(gradient: Tensor) -> Tensor:
    """Signs of the largest hundredth of each image's values, and 0; their sizes sum to 1."""
    flat = gradient.flatten(1).nan_to_num(0.0)
    index = flat.abs().topk(ceil(flat.shape[1] / 100), dim=1).indices
    signs = torch.zeros_like(flat).scatter(1, index, flat.gather(1, index).sign())
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)
