"""Maximum likelihood of PixelCNN++: the loss and its figure of merit, in bits per dimension."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.compute.rng import seeded
from bench.models.nets.logistic import bits_per_dim, to_level, to_value
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.training.merit import Merit

CHUNK = 128


def bits(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean bits per dimension of images in [0,1], on the model's grey levels."""
    del y
    assert isinstance(module, PixelCNNpp)
    level = to_level(x, module.levels)
    params = module(to_value(level, module.levels, x.dtype))
    return bits_per_dim(params, level, module.levels).mean()


def held_out(noise: float) -> Merit:
    """Bits per dimension of images, and with uniform noise of that size, of which it should tell.

    An attack moves images as far; what a purifier gains is the difference.
    """

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        with seeded("merit"):
            noisy = (x + noise * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        figures = {}
        with torch.no_grad():
            for name, images in (("bpd", x), (f"bpd@{noise:.4g}", noisy)):
                parts = zip(torch.split(images, CHUNK), torch.split(y, CHUNK), strict=True)
                total = sum(
                    bits(network, part, labels).item() * len(part) for part, labels in parts
                )
                figures[name] = round(total / len(x), 4)
        return figures

    return measure
