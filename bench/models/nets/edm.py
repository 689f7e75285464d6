"""Denoisers D(x + sigma n, sigma) -> x (Karras et al. 2022): what surrounds a U-Net.

Images are in [-1,1]; sigma is in the same units. D = c_skip x + c_out F(c_in x, c_noise).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.models.nets.songunet import SongUNet
from bench.models.nets.unet import ScoreUNet


class Scales(NamedTuple):
    """The wrapper's coefficients, each like sigma [B,1,1,1]."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


class Denoiser(nn.Module, ABC):
    """A U-Net F(x, noise labels [B]) inside the scales of a subclass."""

    side: int | None = None
    """The only size of images that it takes, where it was trained on one; others are resized."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: F."""
        super().__init__()
        self.model = model

    @abstractmethod
    def scales(self, sigma: Tensor) -> Scales:
        """The coefficients at noise levels `sigma` [B,1,1,1]."""

    def forward(
        self, x: Tensor, sigma: Tensor, *labels: Tensor, classes: Tensor | None = None
    ) -> Tensor:
        """The denoised images, like `x` [B,C,H,W]; `sigma` has one value, or one per image.

        `labels`: further arguments of the U-Net (augmentation labels). `classes`: int64 [B], of a
        network that was trained for classes.
        """
        levels = torch.as_tensor(sigma, device=x.device).to(x.dtype).reshape(-1, 1, 1, 1)
        s = self.scales(levels)
        told = {} if classes is None else {"classes": classes}
        noise = s.noise.flatten().expand(len(x))
        out: Tensor = self.model(s.input * x, noise, *labels, **told)
        return s.skip * x + s.out * out


class EDMPrecond(Denoiser):
    """Karras et al. 2022, Table 1 (EDM): input and target of F have unit variance."""

    def __init__(self, model: nn.Module, sigma_data: float = 0.5) -> None:
        """`sigma_data`: standard deviation of the data in [-1,1]."""
        super().__init__(model)
        self.sigma_data = sigma_data

    def scales(self, sigma: Tensor) -> Scales:
        """With total = sigma^2 + sigma_data^2."""
        data = self.sigma_data
        total = sigma.square() + data**2
        return Scales(data**2 / total, sigma * data / total.sqrt(), total.rsqrt(), sigma.log() / 4)


class VPPrecond(Denoiser):
    """Karras et al. 2022, Table 1 (VP): F predicts the noise of a 1000-step VP diffusion."""

    BETA_D, BETA_MIN, STEPS = 19.9, 0.1, 1000

    def scales(self, sigma: Tensor) -> Scales:
        """The noise label is the step at which VP noise against the image is sigma."""
        root = (self.BETA_MIN**2 + 2 * self.BETA_D * (1 + sigma.square()).log()).sqrt()
        time = (root - self.BETA_MIN) / self.BETA_D
        scale = (1 + sigma.square()).rsqrt()
        return Scales(torch.ones_like(sigma), -sigma, scale, (self.STEPS - 1) * time)


class CompactUNet(nn.Module):
    """`ScoreUNet` whose gates see the noise label: a tenth of DDPM++'s cost on 16x16 images."""

    def __init__(self, *, embedding: int, classes: int = 0, **unet: Any) -> None:
        """`embedding`: width of the noise embedding; the rest are arguments of ScoreUNet.

        `classes`: how many it knows; 0 for a network that is told none.
        """
        super().__init__()
        self.map = nn.Sequential(
            nn.Linear(1, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.classes = classes
        self.label = nn.Embedding(classes, embedding) if classes else None
        self.unet = ScoreUNet(**unet, centre=0.0, scale=1.0, condition=embedding)

    def forward(self, x: Tensor, noise: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """[B,C,H,W] of unit size and noise labels [B] to F like x; classes: int64 [B]."""
        seen = self.map(4 * noise[:, None])
        if self.label is not None and classes is not None:
            seen = seen + self.label(classes)
        out: Tensor = self.unet(x, seen)
        return out


def ddpmpp(*, sigma_data: float = 0.5, **unet: Any) -> EDMPrecond:
    """The published EDM network, DDPM++; arguments of SongUNet, whose defaults are CIFAR-10's."""
    return EDMPrecond(SongUNet(**unet), sigma_data)


def baseline_vp(**unet: Any) -> VPPrecond:
    """The published VP baseline: the same class without augmentation labels."""
    sizes: dict[str, Any] = {"channel_mult": (1, 2, 2, 2), "dropout": 0.1, "augment_dim": 0}
    return VPPrecond(SongUNet(**(sizes | unet)))


def compact(
    *,
    channels: int = 3,
    widths: Sequence[int] = (16, 32, 48),
    blocks: Sequence[int] = (1, 1, 1),
    stem_stride: int = 1,
    embedding: int = 32,
    sigma_data: float = 0.5,
    classes: int = 0,
) -> EDMPrecond:
    """The small denoiser of the embedded data; `classes`: how many it is told apart, or 0."""
    unet = CompactUNet(
        channels=channels,
        widths=widths,
        blocks=blocks,
        stem_stride=stem_stride,
        embedding=embedding,
        classes=classes,
    )
    return EDMPrecond(unet, sigma_data)
