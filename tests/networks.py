"""What each kind of trained network is asked, and the shape of its answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.models.nets.aid import CodeDiscriminator, Discriminator
from bench.models.nets.disco import Disco
from bench.models.nets.ebm import EBM
from bench.models.nets.edm import Denoiser
from bench.models.nets.igebm import IGEBM
from bench.models.nets.magnet import MagNetAutoencoder
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.normalised import Normalised
from bench.models.nets.nrp import NRPDense, NRPResidual
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.models.nets.soap import SoapAutoEncoder
from bench.models.nets.unet import ScoreUNet
from bench.models.nets.wgan import WGAN


def answer(network: nn.Module, x: Tensor) -> Tensor:
    """The network's answer to images `x` [B,C,H,W], or to as many random maps of a classifier."""
    ask: Callable[..., Tensor] = network
    if isinstance(network, Denoiser):
        return ask(x, torch.tensor(0.5))
    if isinstance(network, WGAN):
        return ask(torch.randn(len(x), network.latent))
    if isinstance(network, IGEBM):
        return ask(x, torch.zeros(len(x), dtype=torch.long))
    if isinstance(network, Discriminator | CodeDiscriminator):
        return ask([torch.rand(len(x), width) for width in _widths(network)])
    return ask(x)


def _widths(network: Discriminator | CodeDiscriminator) -> list[int]:
    """Channels of the maps: what the first layer of every branch takes."""
    branches = "branches" if isinstance(network, Discriminator) else "encoder"
    firsts: dict[str, int] = {}
    for name, layer in network.named_modules():
        if name.startswith(branches) and isinstance(layer, nn.Linear | nn.Conv2d):
            branch = name.split(".")[1 if isinstance(network, Discriminator) else 0]
            firsts.setdefault(branch, layer.weight.shape[1])
    return list(firsts.values())


def expected(network: nn.Module, x: Tensor, classes: int) -> tuple[int, ...]:
    """The shape that `answer` must have."""
    if isinstance(network, Normalised | SoapAutoEncoder):
        return (len(x), classes)
    if isinstance(
        network,
        Denoiser | ScoreUNet | NCSNv2 | NRPDense | NRPResidual | MagNetAutoencoder | WGAN | Disco,
    ):
        return tuple(x.shape)
    if isinstance(network, EBM | IGEBM):
        return (len(x),)
    if isinstance(network, PixelCNNpp):
        # Of each mixture: a weight, and per channel a mean and a scale, for colour 3 coefficients.
        numbers = 10 if x.shape[1] == 3 else 3
        return (len(x), numbers * network.mixtures, *x.shape[2:])
    assert isinstance(network, Discriminator | CodeDiscriminator)
    return (len(x), 1)
