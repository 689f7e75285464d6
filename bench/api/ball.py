"""The ball of a threat around images: inside or not, projection, random start, steepest step."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.threat import CERTIFIED, FLOW, Threat

TOLERANCE = 1e-6


class ThreatModel(Threat):
    """A threat that knows images: `norm`, `eps` and `aside` as in `Threat`."""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The norm of the perturbation, [B]; l2 for `corruption` and `flow`."""
        delta = (x_adv - x).flatten(1)
        linf = self.norm in ("linf", "none", CERTIFIED)
        size: Tensor = delta.abs().amax(1) if linf else delta.norm(dim=1)
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
        slack = TOLERANCE if self.norm != "l2" else TOLERANCE * max(1.0, self.eps) * 10
        return valid & (self.distance(x_adv, x) <= self.eps + slack)

    def _reached(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Which values lie between those of the pixels that a flow may read there, like x."""
        down, across = (ceil(self.eps * (side - 1) / 2 - TOLERANCE) for side in x.shape[2:])
        window = (2 * down + 1, 2 * across + 1)
        high, low = (F.max_pool2d(s * x, window, 1, (down, across)) for s in (1, -1))
        return (x_adv <= high + TOLERANCE) & (-x_adv <= low + TOLERANCE)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball, then of [0,1] (which keeps it in the ball)."""
        return self.onto(x_adv, x).clamp(0, 1)

    def onto(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point of the ball alone, whatever its pixels."""
        delta = x_adv - x
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            norms = _norms(delta)
            delta = delta * (self.eps / norms.clamp_min(self.eps or 1.0))
        moved: Tensor = x + delta
        return moved

    def random_start(self, x: Tensor) -> Tensor:
        """A uniform point of the ball, clipped to [0,1], from the global generator."""
        if self.norm == "linf":
            return (x + torch.empty_like(x).uniform_(-self.eps, self.eps)).clamp(0, 1)
        direction = torch.randn_like(x)
        size = x[0].numel()
        radius = torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) ** (1 / size)
        return (x + self.eps * radius * direction / _norms(direction)).clamp(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit step that raises a linear loss most: the sign, or g / ||g||.

        0 where g is 0, and for an image whose norm is not a number.
        """
        if self.norm == "linf":
            return gradient.sign()
        # The sign of NaN is 0 too.
        return (gradient / _norms(gradient).clamp_min(1e-12)).nan_to_num(0.0)


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = x.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (x.dim() - 1))
