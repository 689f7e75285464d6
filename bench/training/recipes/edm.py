"""Denoisers for diffusion purification and ScoreOpt (Karras et al. 2022)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.api.images import DatasetInfo
from bench.compute.rng import seeded
from bench.training.fit import Fit, Loss
from bench.training.merit import Merit
from bench.training.recipes.recipe import Recipe, Sizes, flip

P_MEAN, P_STD = -1.2, 1.2
"""Of ln(sigma) in training, in [-1,1] units (Karras et al. 2022, Table 1)."""
# About the root mean square of the training images in [-1,1] (.33 and .75), which the wrapper does
# not centre.
SIGMA_DATA = {"patches": 0.36, "digits": 0.75}
STEPS = {"patches": 6000, "digits": 4000}
SHAPES = ("widths", "blocks", "stem_stride")


def denoising(sigma_data: float, mean: float = P_MEAN, std: float = P_STD) -> Loss:
    """E w(sigma) |D(x + sigma n, sigma) - x|^2 per dimension with w = (s^2 + d^2) / (s d)^2.

    Karras et al. 2022, Eq. 2 and Table 1: the squared error of F where that has unit variance.
    """

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        clean = 2 * x - 1
        sigma = (mean + std * torch.randn(len(x), 1, 1, 1, device=x.device)).exp()
        denoised: Tensor = module(clean + sigma * torch.randn_like(clean), sigma)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        return (weight * (denoised - clean).square()).mean()

    return loss


def left(sigmas: tuple[float, ...]) -> Merit:
    """Mean squared error of the denoised image over sigma^2, at noise levels in [0,1] units.

    1 for a network that does nothing; comparable with `dsm` of the score networks.
    """

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        del y
        figures = {}
        clean = 2 * x - 1
        for s in sigmas:
            with seeded("merit", s), torch.no_grad():
                sigma = torch.tensor(2 * s, device=x.device)
                denoised = network(clean + sigma * torch.randn_like(clean), sigma)
            loss = ((denoised - clean) / sigma).square().mean().item()
            figures[f"left@{s:g}"] = round(loss, 4)
        return figures

    return measure


def edm(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """The compact denoiser of the embedded data."""
    sigma_data = SIGMA_DATA[info.name]
    shape = {key: sizes.unet[key] for key in SHAPES if key in sizes.unet}
    return Recipe(
        "edm",
        {"channels": info.shape[0], "sigma_data": sigma_data, **shape},
        denoising(sigma_data),
        Fit(STEPS[info.name], lr=4e-3, ema=0.999, clip=1.0),
        left(sizes.sigmas),
        flip if sizes.flips else None,
        normalised=False,
    )


def edm_ddpmpp(info: DatasetInfo, sizes: Sizes) -> Recipe:
    """DDPM++, the paper's class, at small width; a short run."""
    arguments = {
        "img_resolution": info.shape[1],
        "img_channels": info.shape[0],
        "model_channels": 16,
        "channel_mult": [1, 2],
        "num_blocks": 1,
        "attn_resolutions": [8],
        "augment_dim": 0,
        "dropout": 0.0,
        "sigma_data": SIGMA_DATA[info.name],
    }
    recipe = edm(info, sizes)
    length = Fit(800, batch=64, lr=2e-3, ema=0.99, clip=1.0)
    return replace(recipe, network="edm-ddpmpp", arguments=arguments, fit=length)
