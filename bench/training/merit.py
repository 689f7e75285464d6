"""Figures of merit on validation images, stored with the weights: fixed noise, fixed attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rng import seeded
from bench.training.losses import ascend

Merit = Callable[[nn.Module, Tensor, Tensor], dict[str, float]]


def accuracy(eps: float, steps: int = 40) -> Merit:
    """Percent correct on clean images and under 40 linf-PGD steps of eps/4 (`clean`, `pgd`)."""

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        with seeded("merit"):
            start = eps * (2 * torch.rand_like(x) - 1)
            attacked = ascend(
                network,
                x,
                start,
                lambda logits: F.cross_entropy(logits, y, reduction="sum"),
                eps=eps,
                steps=steps,
                size=eps / 4,
            )
        with torch.no_grad():
            clean = (network(x).argmax(1) == y).float().mean().item()
            robust = (network(attacked).argmax(1) == y).float().mean().item()
        return {"clean": round(100 * clean, 1), f"pgd{steps}@{eps:.4g}": round(100 * robust, 1)}

    return measure


def denoising(sigmas: tuple[float, ...]) -> Merit:
    """Denoising loss per dimension at each noise level: 1 for a network that says nothing."""

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        del y
        figures = {}
        for sigma in sigmas:
            with seeded("merit", sigma), torch.no_grad():
                noise = torch.randn_like(x)
                loss = (network(x + sigma * noise) + noise).square().mean().item()
            figures[f"dsm@{sigma:g}"] = round(loss, 4)
        return figures

    return measure
