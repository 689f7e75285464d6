"""Figures of merit on validation images, stored with the weights: fixed noise, fixed attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.compute.rng import seeded
from bench.training.losses import ascend

Merit = Callable[[nn.Module, Tensor, Tensor], dict[str, float]]


def by_parts(measure: Merit, images: int, size: int) -> Merit:
    """`measure` on the first `images`, in batches of `size`: the mean over batches of each figure.

    Figures of merit are means over images; of the others (AUROC, drift) it is the mean that counts.
    """

    def parts(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        rows = [slice(start, start + size) for start in range(0, min(images, len(x)), size)]
        found = [(measure(network, x[part], y[part]), len(x[part])) for part in rows]
        total = sum(count for _, count in found)
        names = found[0][0]
        return {
            name: round(sum(figures[name] * count for figures, count in found) / total, 4)
            for name in names
        }

    return parts


def accuracy(eps: float, steps: int = 40) -> Merit:
    """Percent correct on clean images and under 40 linf-PGD steps of eps/4 (`clean`, `pgd`)."""

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        attacked = _attacked(network, x, y, eps, steps)
        with torch.no_grad():
            clean = (network(x).argmax(1) == y).float().mean().item()
            robust = (network(attacked).argmax(1) == y).float().mean().item()
        return {"clean": round(100 * clean, 1), f"pgd{steps}@{eps:.4g}": round(100 * robust, 1)}

    return measure


def detection(
    classifier: nn.Module, clean: Callable[[nn.Module, Tensor], Tensor], eps: float, steps: int = 40
) -> Merit:
    """How well a detector ranks images above linf-PGD examples of a classifier: AUROC in percent.

    `clean(module, images)` gives [B], higher for what it takes for clean.
    """

    def measure(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        attacked = _attacked(classifier, x, y, eps, steps)
        with torch.no_grad():
            area = auroc(clean(module, x), clean(module, attacked))
        return {f"auroc pgd{steps}@{eps:.4g}": round(100 * area, 1)}

    return measure


def _attacked(classifier: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """linf-PGD examples from one fixed random start, in steps of eps/4."""
    with seeded("merit"):
        start = eps * (2 * torch.rand_like(x) - 1)
        return ascend(
            classifier,
            x,
            start,
            lambda logits: F.cross_entropy(logits, y, reduction="sum"),
            eps=eps,
            steps=steps,
            size=eps / 4,
        )


def auroc(high: Tensor, low: Tensor) -> float:
    """The share of pairs of which `high` [N] is above `low` [M], ties counted by half."""
    gap = high[:, None] - low[None]
    return ((gap > 0).double() + 0.5 * (gap == 0).double()).mean().item()


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
