"""MagNet (Meng & Chen 2017): one pass through an autoencoder that was trained on clean images.

It is the paper's reformer. What is left out are its detectors, which reject images whose
reconstruction is far from them, or is classified otherwise. The paper counts a rejected attack as
repelled; the judge here asks for the class of every image and does not know which were attacked.
If a rejection were right, a detector that rejects everything would be the best of all; if it were
wrong, none would ever help. So there is no number in which a detector could be judged beside a
purifier. Left out too is the choice of one among several autoencoders, at random.

The authors publish weights of Keras, which are not read. `bench train magnet` is their recipe:
noise on images (.1 on grey ones, .025 on colour), the mean squared error, Adam. The gradient is
plain autograd's; the authors' attackers do not know the autoencoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, defense, recipe
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits
from bench.models.nets.magnet import MagNetAutoencoder
from bench.models.zoo.networks import rebuild_as

NOISE = {1: 0.1, 3: 0.025}
"""Of training images, by channels."""


class MagNet(Purifier):
    """An autoencoder's answer; its gradient is plain autograd's."""

    def __init__(self, autoencoder: Network) -> None:
        """autoencoder: [B,C,H,W] in [0,1] to the same."""
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x: Tensor) -> Tensor:
        """One pass."""
        again: Tensor = self.autoencoder(x)
        return again.clamp(0, 1)


@defense(
    "magnet",
    source="Meng & Chen 2017, MagNet: a Two-Pronged Defense against Adversarial Examples",
    paper="Meng & Chen 2017",
    link="https://arxiv.org/abs/1705.09064",
    groups={"competitors": ("magnet",)},
    weights=lambda settings: ("magnet",),
    calls=lambda settings: {"autoencoder": 1},
    traits=lambda settings: Traits(),
)
def magnet(context: Context) -> MagNet:
    """The reformer: one pass through an autoencoder; without the paper's detectors."""
    made = rebuild_as(context.weights("magnet"), "an autoencoder", MagNetAutoencoder)
    return MagNet(context.network(made, "autoencoder"))


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean squared error of what is made of noisy images."""
    del y
    noisy = (x + NOISE.get(x.shape[1], 0.025) * torch.randn_like(x)).clamp(0, 1)
    return F.mse_loss(module(noisy), x)


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Root mean squared error of clean images in grey levels."""
    del y
    with torch.no_grad():
        return {"rmse/255": round(255 * F.mse_loss(module(x), x).sqrt().item(), 2)}


@recipe("magnet")
def trained(info: DatasetInfo) -> Training:
    """The paper's 400 epochs at 1e-3; on small images fewer at a larger rate."""
    small, size = (
        min(info.shape[1:]) < 28,
        {"channels": info.shape[0], "pooled": info.shape[0] == 1},
    )
    return Training(
        network=Named("magnet", size, standardised=False),
        loss=_loss,
        steps=3000 if small else 78_000,
        batch=256,
        lr=1e-2 if small else 1e-3,
        schedule="onecycle" if small else "constant",
        merit=_merit,
        half=small,
    )
