"""Cheap controls: filters without a trained network. A purifier is worth what it adds to them."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.defense import Purifier, Traits
from bench.errors import BenchError
from bench.registry import Context, defense
from bench.spec import Range

# Every `settings` table here was chosen on validation images by
# bench/training/choose.py, whose output is leaderboards/choices-<data set>.txt.


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


@defense(
    "wiener",
    source="Wiener 1949; closed form from the training images",
    settings={"patches": {"sigma": 0.12}, "digits": {"sigma": 0.2}},
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
    source="Xu et al. 2018, Feature Squeezing (spatial smoothing)",
    settings={"patches": {"size": 3}, "digits": {"size": 3}},
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
    source="Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing",
    settings={"patches": {"sigma": 0.02}, "digits": {"sigma": 0.15}},
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
    source="Xu et al. 2018, Feature Squeezing (colour depth)",
    settings={"patches": {"depth": 3}, "digits": {"depth": 2}},
    traits=lambda settings: Traits(exact=False),
)
def bits(context: Context, *, depth: Annotated[int, Range(1, 8)] = 5) -> Bits:
    """Fewer bits per pixel and channel."""
    return Bits(depth)


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
    source="Guo et al. 2018, Countering Adversarial Images using Input Transformations",
    settings={"patches": {"quality": 25}, "digits": {"quality": 5}},
    traits=lambda settings: Traits(exact=False),
)
def jpeg(context: Context, *, quality: Annotated[int, Range(1, 100)] = 50) -> Jpeg:
    """Real JPEG compression, a textbook case of a masked gradient."""
    return Jpeg(quality)
