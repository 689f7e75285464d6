"""Cheap controls: filters without a trained network. A purifier is worth what it adds to them.

Every run measures them beside purifiers, in the order in which they stand here.
"""

from __future__ import annotations

import math
from io import BytesIO
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api import ClassifierPlugin, Context, defense
from bench.api.images import DatasetInfo
from bench.api.purifier import Purifier, Traits
from bench.errors import BenchError
from bench.spec import Range, Settings

# The settings of `patches` and `digits` were chosen on validation images by
# bench/training/choose.py, whose output is leaderboards/choices-<data set>.txt. On fetched data
# nothing was chosen on validation images yet: colour images of 32 or 64 pixels take the choice of
# `patches` (photographs at the same 8/255), grey ones of 28 that of `digits`, ImageNet what the
# filter's own paper prints for it.
COLOUR = ("patches", "cifar10", "cifar10-compact", "cifar100", "svhn", "tinyimagenet")
GREY = ("digits", "mnist", "fashionmnist")
LARGEST = 64 * 64 * 3
"""Numbers in an image up to which a covariance of all of them is solved for."""


def _table(
    colour: Settings, grey: Settings, imagenet: Settings | None = None
) -> dict[str, Settings]:
    return {
        **dict.fromkeys(COLOUR, colour),
        **dict.fromkeys(GREY, grey),
        "imagenet": imagenet or colour,
    }


class Wiener(Purifier):
    """x -> mean + W (x - mean): the linear denoiser of least squared error for noise sigma."""

    mean: Tensor
    filter: Tensor

    def __init__(self, images: Tensor, sigma: float) -> None:
        """`images` [N,C,H,W] give mean and covariance C; W = C (C + sigma^2 I)^-1."""
        super().__init__()
        flat = images.flatten(1).double()
        mean = flat.mean(0)
        covariance = (flat - mean).T @ (flat - mean) / len(flat)
        noisy = covariance + sigma**2 * torch.eye(len(mean), dtype=flat.dtype, device=flat.device)
        self.register_buffer("mean", mean.to(images.dtype))
        # C and C + sigma^2 I commute, so W is symmetric and either order of the product will do.
        self.register_buffer("filter", torch.linalg.solve(noisy, covariance).to(images.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The filtered images, clipped to [0,1]."""
        flat = x.flatten(1) - self.mean
        return (self.mean + flat @ self.filter).view_as(x).clamp(0, 1)


def _too_large(settings: Settings, classifier: ClassifierPlugin, info: DatasetInfo) -> str | None:
    del settings, classifier
    if math.prod(info.shape) <= LARGEST:
        return None
    return f"wiener solves for the covariance of all pixels, too many in images of {info.shape}"


@defense(
    "wiener",
    control=True,
    source="Wiener 1949; closed form from the training images",
    settings=_table({"sigma": 0.12}, {"sigma": 0.2}),
    misfit=_too_large,
)
def wiener(context: Context, *, sigma: Annotated[float, Range(1e-3, 10)] = 0.1) -> Wiener:
    """Closed-form linear denoiser from the covariance of the training images."""
    return Wiener(context.train(), sigma).to(context.device)


class Median(Purifier):
    """Each pixel becomes the median of the square around it, per channel."""

    def __init__(self, size: int) -> None:
        """`size`: odd side of the square in pixels."""
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Borders are mirrored; the gradient goes to the pixel that is the median."""
        margin = self.size // 2
        padded = F.pad(x, [margin] * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.median(4).values


@defense(
    "median",
    control=True,
    source="Xu et al. 2018, Feature Squeezing (spatial smoothing)",
    settings=_table({"size": 3}, {"size": 3}),
)
def median(context: Context, *, size: Annotated[int, Range(1, 15)] = 3) -> Median:
    """Median filter over a small square, odd in size."""
    if size % 2 == 0:
        raise BenchError(f"median: size={size} is not odd (3, 5, 7 ...)")
    return Median(size)


class Gaussian(Purifier):
    """Adds white noise: the smoothed prediction of Cohen et al. 2019 without a denoiser."""

    def __init__(self, sigma: float) -> None:
        """`sigma` in [0,1] pixel units."""
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Fresh noise on every image, clipped to [0,1]."""
        return (x + self.sigma * torch.randn_like(x)).clamp(0, 1)


@defense(
    "gaussian",
    control=True,
    source="Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing",
    settings=_table({"sigma": 0.02}, {"sigma": 0.15}),
    traits=lambda settings: Traits(random=True, runs=int(settings["runs"])),
)
def gaussian(
    context: Context,
    *,
    sigma: Annotated[float, Range(1e-6, 1)] = 0.06,
    runs: Annotated[int, Range(1, 1000)] = 10,
) -> Gaussian:
    """Noise and the mean softmax of several runs."""
    return Gaussian(sigma)


class Jpeg(Purifier):
    """Encodes and decodes images as real JPEG files; no gradient passes."""

    def __init__(self, quality: int) -> None:
        """`quality`: 1 to 100, as in libjpeg."""
        super().__init__()
        self.quality = quality

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One or three channels, [B,C,H,W] in [0,1] to the same on the grid k/255."""
        levels = (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        decoded = torch.stack([self._through_file(image) for image in levels])
        return (decoded.to(x.dtype) / 255).to(x.device)

    def _through_file(self, image: Tensor) -> Tensor:
        """uint8 [1 or 3,H,W] to the same by way of a file in memory."""
        import numpy as np
        from PIL import Image

        file = BytesIO()
        pixels = image.permute(1, 2, 0).squeeze(2).numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        with Image.open(file) as decoded:
            return torch.from_numpy(np.array(decoded)).view(*image.shape[1:], -1).permute(2, 0, 1)


@defense(
    "jpeg",
    control=True,
    source="Guo et al. 2018, Countering Adversarial Images using Input Transformations",
    settings=_table({"quality": 25}, {"quality": 5}, {"quality": 75}),
    traits=lambda settings: Traits(exact=False),
)
def jpeg(context: Context, *, quality: Annotated[int, Range(1, 100)] = 50) -> Jpeg:
    """Real JPEG compression, a textbook case of a masked gradient."""
    return Jpeg(quality)


class Bits(Purifier):
    """Rounds every pixel to the nearest of a few grey levels; no gradient passes."""

    def __init__(self, depth: int) -> None:
        """`depth` in bits, 1 to 8."""
        super().__init__()
        self.steps = 2**depth - 1

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] to the same on the grid k/(2^depth - 1)."""
        rounded: Tensor = torch.round(x * self.steps) / self.steps
        return rounded


@defense(
    "bits",
    control=True,
    source="Xu et al. 2018, Feature Squeezing (colour depth)",
    settings=_table({"depth": 3}, {"depth": 2}, {"depth": 5}),
    traits=lambda settings: Traits(exact=False),
)
def bits(context: Context, *, depth: Annotated[int, Range(1, 8)] = 5) -> Bits:
    """Fewer bits per pixel and channel."""
    return Bits(depth)
