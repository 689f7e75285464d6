"""Whether mixed precision trains in the same direction as float32 on this processor."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.compute.rng import seeded
from bench.errors import BenchError

APART = 0.5
"""Largest distance of the two gradients, as a share of float32's norm. Rounding to a bfloat16's
eight bits moved those of two small networks by 0.12 and 0.15; a convolution that leaves out terms
(pytorch/pytorch#163347, on some processors) gives other sums."""


def require_same_direction(
    module: nn.Module, loss: Callable[[nn.Module, Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> None:
    """Compare the gradients of one batch in bfloat16 and in float32; `module` stays as it is.

    loss: of (module in training mode, images [B,C,H,W] in [0,1], labels [B]), a scalar.

    Raises:
        BenchError: they point elsewhere.
    """
    exact, rounded = (_gradient(module, loss, x, y, amp=amp) for amp in (False, True))
    distance = ((rounded - exact).norm() / exact.norm().clamp_min(1e-12)).item()
    if not distance <= APART:
        raise BenchError(
            "mixed precision computes another gradient here than float32 does: they are "
            f"{distance:.2g} of its length apart, where rounding explains {APART:g}; train without "
            "--amp"
        )


def _gradient(
    module: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    amp: bool,
) -> Tensor:
    """All parameters' gradients on one batch as one vector, with the same random numbers."""
    trial = copy.deepcopy(module).train()
    with seeded("mixed precision"):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            value = loss(trial, x, y)
        torch.autograd.backward(value)
    return torch.cat([p.grad.flatten() for p in trial.parameters() if p.grad is not None])
