"""MagNet's autoencoders (Meng & Chen 2017): a few 3x3 convolutions with sigmoids."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


class MagNetAutoencoder(nn.Module):
    """[B,channels,H,W] in [0,1] to the same; sides are even where it is `pooled`."""

    def __init__(self, *, channels: int = 3, width: int = 3, pooled: bool = False) -> None:
        """`pooled`: the paper's network for MNIST, which halves the image inside; else CIFAR's."""
        super().__init__()
        self.layers = nn.Sequential(*_layers(channels, width, pooled))

    def forward(self, x: Tensor) -> Tensor:
        """The images again."""
        out: Tensor = self.layers(x)
        return out


def _layers(channels: int, width: int, pooled: bool) -> Iterator[nn.Module]:
    def convolution(inside: int, outside: int) -> Iterator[nn.Module]:
        yield nn.Conv2d(inside, outside, 3, padding=1)
        yield nn.Sigmoid()

    yield from convolution(channels, width)
    if pooled:
        yield nn.AvgPool2d(2)
    yield from convolution(width, width)
    if pooled:
        yield from convolution(width, width)
        yield nn.Upsample(scale_factor=2)
        yield from convolution(width, width)
    yield from convolution(width, channels)
