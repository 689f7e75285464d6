"""DISCO's local implicit function (Ho & Vasconcelos 2022): a pixel from features around it.

An encoder of residual blocks gives each pixel features; those of the 3x3 pixels around go through a
perceptron that gives the pixel anew. At the image's own resolution a pixel's offset from its
features and its size are constants, so that the perceptron is one 3x3 convolution and some of 1x1.
"""

from __future__ import annotations

from torch import Tensor, nn


class _Residual(nn.Module):
    """x + conv(relu(conv(x))), as in EDSR."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(self.conv1(x).relu())
        return out


class Disco(nn.Module):
    """[B,channels,H,W] in [0,1] to the same, pixel by pixel from what lies around it."""

    def __init__(
        self, *, channels: int = 3, width: int = 64, blocks: int = 16, hidden: int = 256
    ) -> None:
        """`hidden`: width of the perceptron, which has four layers of it."""
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        inner = [layer for _ in range(3) for layer in (nn.ReLU(), nn.Conv2d(hidden, hidden, 1))]
        self.local = nn.Sequential(
            nn.Conv2d(width, hidden, 3, padding=1),
            *inner,
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The images anew; nothing is clipped."""
        h = self.stem(2 * x - 1)
        out: Tensor = self.local(h + self.after(self.blocks(h)))
        return (out + 1) / 2
