"""Energy-based models: two ways to train them, and what a trained energy is good for.

All work in [-1,1] like the purifier, with the same Langevin step: x - grad E(x) + noise * n. After
`contrastive` training its stationary density is exp(-E / T) with T = noise^2 / 2 (Hill, Mitchell &
Zhu 2021); `matching` knows no temperature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.compute.rng import seeded
from bench.models.nets.ebm import EBM, slope
from bench.training.fit import Loss
from bench.training.merit import Merit


def walk(module: EBM, x: Tensor, steps: int, noise: float) -> Tensor:
    """`x` after Langevin steps on the energy, without a graph."""
    with torch.no_grad():
        for _ in range(steps):
            x = x - slope(module, x) + noise * torch.randn_like(x)
    return x


def contrastive(
    *, steps: int, noise: float, spread: float, blur: float, decay: float = 2e-4
) -> Loss:
    """(E(images) - E(samples)) / T, samples being `steps` Langevin steps from noisy images.

    The walks start anew at every batch, so nothing has to survive a resumed run (the authors'
    option `shortrun_init=data`; their published models keep a bank of samples instead). With
    `spread` 0 the gradient is that of contrastive divergence (Hinton 2002), which vanishes where
    the model fits; a positive one, the noise of the start, also makes far points high. `blur` is
    noise on the real images (Hill et al.: .02), `decay` keeps energies near 0 (Du & Mordatch 2019).
    """
    temperature = noise**2 / 2

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        assert isinstance(module, EBM)
        images = 2 * x - 1
        samples = walk(module, images + spread * torch.randn_like(x), steps, noise)
        real = images + blur * torch.randn_like(x)
        energies: Tensor = module(torch.cat([real, samples])) / temperature
        low, high = energies.chunk(2)
        return low.mean() - high.mean() + decay * energies.square().mean()

    return loss


def matching(*, rate: float, levels: tuple[float, float]) -> Loss:
    """Denoising score matching of the slope (Vincent 2011): no walk, so no walk that can diverge.

    The best slope removes the share `rate` of the noise that is to be expected in an image, whose
    level is uniform in `levels` ([-1,1] units). 1 is the loss of a flat energy.
    """
    low, high = levels

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        sigma = low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device).to(x)
        noise = sigma * torch.randn_like(x)
        told = slope(module, (2 * x - 1 + noise).requires_grad_())
        return ((told / rate - noise) / sigma).square().mean()

    return loss


def usefulness(*, steps: int, noise: float, levels: tuple[float, ...]) -> Merit:
    """How the purifier's walk treats images, and how well noise is told from them.

    drift: mean absolute change of clean images in [0,1] units. left@s: the mean squared error after
    the walk from images with noise s ([0,1] units), as a share of what it was: below 1 the walk
    cleans. gap@s: their energy above that of the images, in units of T (noise^2 / 2).
    """

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        del y
        assert isinstance(network, EBM)
        images = 2 * x - 1
        temperature = noise**2 / 2
        with seeded("merit"), torch.no_grad():
            figures = {"drift": _gap(walk(network, images, steps, noise), images)}
            for s in levels:
                noisy = images + 2 * s * torch.randn_like(x)
                after = walk(network, noisy, steps, noise)
                share = (after - images).square().mean() / (noisy - images).square().mean()
                figures[f"left@{s:g}"] = round(share.item(), 3)
                gap = (network(noisy) - network(images)).mean() / temperature
                figures[f"gap@{s:g}"] = round(gap.item(), 1)
        return figures

    return measure


def _gap(x: Tensor, images: Tensor) -> float:
    """Mean absolute difference of two batches in [-1,1], in [0,1] units."""
    return round((x.clamp(-1, 1) - images).abs().mean().item() / 2, 4)
