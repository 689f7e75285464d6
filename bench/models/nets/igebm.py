"""IGEBM's energy of image and class (Du & Mordatch 2019): residual blocks that are told a class.

As in the authors' code a block adds a bias of the class before each convolution and scales what
comes out of the second one; heads sum over space. Unlike it: smooth activations, so that a walk
down the energy has an exact gradient, and no spectral normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Told(nn.Module):
    """Two convolutions told a class, beside a bypass; then half the side, where it goes `down`."""

    def __init__(self, inside: int, outside: int, classes: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.shift1, self.shift2, self.scale = (
            nn.Embedding(classes, width) for width in (inside, outside, outside)
        )
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bypass = nn.Conv2d(inside, outside, 1, bias=False) if inside != outside else None
        for shift in (self.shift1, self.shift2):
            nn.init.zeros_(shift.weight)
        nn.init.ones_(self.scale.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B,inside,H,W] and classes [B] to [B,outside,...]."""
        h = F.silu(self.conv1(x + self.shift1(y)[:, :, None, None]))
        h = self.conv2(h + self.shift2(y)[:, :, None, None]) * self.scale(y)[:, :, None, None]
        h = h + (x if self.bypass is None else self.bypass(x))
        return F.silu(F.avg_pool2d(h, 2) if self.down else h)


class IGEBM(nn.Module):
    """E(x,y): one number per image in [-1,1] and class; it is low where both belong together."""

    def __init__(
        self, *, channels: int = 3, classes: int = 10, widths: Sequence[int] = (128, 256, 256)
    ) -> None:
        """Two blocks of each of `widths`, the first of which halves the side."""
        super().__init__()
        self.classes = classes
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        blocks, now = [], widths[0]
        for width in widths:
            blocks += [_Told(now, width, classes, True), _Told(width, width, classes, False)]
            now = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(now, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Energies [B] of images [B,C,H,W] under classes int64 [B]."""
        h = F.silu(self.stem(x))
        for block in self.blocks:
            h = block(h, y)
        energy: Tensor = self.head(h.sum((2, 3)))
        return energy[:, 0]

    def all(self, x: Tensor) -> Tensor:
        """The energies of images under every class, [B,K]."""
        each = torch.arange(self.classes, device=x.device).repeat_interleave(len(x))
        energies: Tensor = self(x.repeat(self.classes, 1, 1, 1), each)
        return energies.view(self.classes, -1).T
