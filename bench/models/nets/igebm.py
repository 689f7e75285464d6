"""IGEBM's energy of image and class (Du & Mordatch 2019): residual blocks that are told a class.

A block adds a bias of the class before each convolution and scales what comes out of the second
one; what ends up is summed over space. With `published` it is the authors' network, of which
`bench/models/foreign/igebm.py` reads the files: leaky ReLU of slope .2, bypasses of 3x3, a ReLU
before the sum; the spectral norms by which they divide are in the weights that are read. Between
its kinks that network is linear, so that the gradient of a step down it is the identity. Without
`published`, as trained here, activations are smooth and steps have an exact gradient; bypasses are
of 1x1, and no norm is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class _Told(nn.Module):
    """Two convolutions told a class, beside a bypass; then half the side, where it goes `down`."""

    def __init__(
        self, inside: int, outside: int, classes: int, down: bool, published: bool
    ) -> None:
        super().__init__()
        self.down = down
        self.activation: Callable[[Tensor], Tensor] = _leaky if published else F.silu
        self.shift1, self.shift2, self.scale = (
            nn.Embedding(classes, width) for width in (inside, outside, outside)
        )
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        side = 3 if published else 1
        bypass = nn.Conv2d(inside, outside, side, padding=side // 2, bias=False)
        self.bypass = bypass if inside != outside else None
        for shift in (self.shift1, self.shift2):
            nn.init.zeros_(shift.weight)
        nn.init.ones_(self.scale.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B,inside,H,W] and classes [B] to [B,outside,...]."""
        h = self.activation(self.conv1(x + self.shift1(y)[:, :, None, None]))
        h = self.conv2(h + self.shift2(y)[:, :, None, None]) * self.scale(y)[:, :, None, None]
        h = h + (x if self.bypass is None else self.bypass(x))
        return self.activation(F.avg_pool2d(h, 2) if self.down else h)


class IGEBM(nn.Module):
    """E(x,y): one number per image in [-1,1] and class; it is low where both belong together."""

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 10,
        widths: Sequence[int] = (128, 256, 256),
        stem: int = 0,
        each: int = 2,
        published: bool = False,
        leaky: bool = False,
    ) -> None:
        """`each` blocks of each of `widths`, the first of which halves the side.

        stem: channels before them, 0 for the first width. leaky: before the sum of a published one.
        """
        super().__init__()
        self.classes, self.published, self.leaky = classes, published, leaky
        now = stem or widths[0]
        self.stem = nn.Conv2d(channels, now, 3, padding=1, bias=False)
        blocks = []
        for width in widths:
            for number in range(each):
                blocks.append(_Told(now, width, classes, not number, published))
                now = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(now, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Energies [B] of images [B,C,H,W] under classes int64 [B]."""
        if self.published:  # a level of 0 to 255 over 256
            x = (x + 1) * (255 / 512)
        h = self.stem(x)
        h = _leaky(h) if self.published else F.silu(h)
        for block in self.blocks:
            h = block(h, y)
        if self.published:
            h = _leaky(h) if self.leaky else F.relu(h)
        energy: Tensor = self.head(h.sum((2, 3)))
        return energy[:, 0]

    def all(self, x: Tensor) -> Tensor:
        """The energies of images under every class, [B,K]."""
        each = torch.arange(self.classes, device=x.device).repeat_interleave(len(x))
        energies: Tensor = self(x.repeat(self.classes, 1, 1, 1), each)
        return energies.view(self.classes, -1).T
