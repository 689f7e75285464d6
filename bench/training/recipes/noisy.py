"""A classifier trained on noisy images, the base of randomized smoothing (Cohen et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api.images import DatasetInfo
from bench.compute.rng import seeded
from bench.training.fit import Loss
from bench.training.merit import Merit, accuracy
from bench.training.recipes import classifiers
from bench.training.recipes.recipe import Recipe, Sizes

# Standard deviation of the noise, which `smoothing` then adds too (defenses/smoothing.py).
SIGMAS: Mapping[str, float] = {"patches": 0.1, "digits": 0.25}


def _with_noise(x: Tensor, sigma: float) -> Tensor:
    """Clipped to [0,1] like all images that a classifier of the benchmark sees."""
    return (x + sigma * torch.randn_like(x)).clamp(0, 1)


def augmented(sigma: float) -> Loss:
    """Cross-entropy on images with Gaussian noise (Cohen et al. 2019, 3.3)."""

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(module(_with_noise(x, sigma)), y)

    return loss


def both_accuracies(sigma: float, eps: float) -> Merit:
    """Those of `accuracy`, and the percentage that is right under one draw of the noise."""
    plain = accuracy(eps)

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        with seeded("merit", sigma), torch.no_grad():
            right = (network(_with_noise(x, sigma)).argmax(1) == y).float().mean().item()
        return {f"noise@{sigma:g}": round(100 * right, 1), **plain(network, x, y)}

    return measure


def noisy(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """`natural` on images with Gaussian noise (Cohen et al. 2019)."""
    recipe, sigma = classifiers.natural(info, sizes), SIGMAS[info.name]
    merit = both_accuracies(sigma, sizes.eps_merit)
    return replace(recipe, loss=augmented(sigma), merit=merit)
