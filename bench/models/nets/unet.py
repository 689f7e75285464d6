"""A compact U-Net score network for 16x16 images (Ronneberger et al. 2015; Song & Ermon 2020).

The papers' score networks cost ten times as much per image; this one keeps the shape that
matters, skip connections between equal resolutions and a field of view of the whole image.
It knows no noise level: like the score network of Yoon et al. 2021 it answers s(x) in units of
the noise, so that x + sigma * s(x) is the denoised image. It therefore has to read the level
off the image, for which every block has a gate driven by global averages
(squeeze-and-excitation, Hu et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Residual block: two 3x3 convolutions and a gate per channel; [B,width,H,W] -> same."""

    def __init__(self, width: int, condition: int = 0) -> None:
        """`width`: channels in and out; `condition`: width of what else the gate sees."""
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Linear(width + condition, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, h: Tensor, *condition: Tensor) -> Tensor:
        """`h` plus its gated residual."""
        r = F.silu(self.conv1(F.silu(h)))
        gate = 2 * torch.sigmoid(self.gate(torch.cat([r.mean((2, 3)), *condition], 1)))
        out: Tensor = h + self.conv2(r * gate[:, :, None, None])
        return out


class ScoreUNet(nn.Module):
    """s(x) in units of the noise, [B,channels,H,W] in [0,1] (or noisy) -> like x."""

    def __init__(
        self,
        *,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 48),
        blocks: Sequence[int] = (1, 1, 1),
        stem_stride: int = 1,
        centre: float = 0.5,
        scale: float = 0.25,
        condition: int = 0,
    ) -> None:
        """One resolution per entry of `widths`, each half the one before, `blocks` on the way down.

        On the way up there are as many again, except at the lowest resolution. `stem_stride` 2
        halves the image before the first block, which suits smooth grey images. The network
        sees (x - centre) / scale. `condition` is the width of an embedding that every gate sees.
        """
        super().__init__()
        self.centre, self.scale, self.stem_stride = centre, scale, stem_stride
        self.stem = nn.Conv2d(channels, widths[0], 3, stride=stem_stride, padding=1)
        self.down = nn.ModuleList(
            nn.ModuleList(Block(w, condition) for _ in range(n))
            for w, n in zip(widths, blocks, strict=True)
        )
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a, _ in reversed(pairs))
        self.up = nn.ModuleList(
            nn.ModuleList(Block(w, condition) for _ in range(n))
            for w, n in list(zip(widths, blocks, strict=True))[-2::-1]
        )
        self.head = nn.Conv2d(widths[0], channels * stem_stride**2, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """The score of `x` times its noise level, like x; `condition`: an embedding [B,width]."""
        h = self.stem((x - self.centre) / self.scale)
        skips: list[Tensor] = []
        for i, stage in enumerate(self.down):
            h = _through(stage, h, condition)
            if i < len(self.shrink):
                skips.append(h)
                h = self.shrink[i](h)
        for grow, merge, stage in zip(self.grow, self.merge, self.up, strict=True):
            skip = skips.pop()
            h = F.interpolate(grow(h), size=skip.shape[2:], mode="nearest")
            h = _through(stage, merge(torch.cat([h, skip], 1)), condition)
        return F.pixel_shuffle(self.head(F.silu(h)), self.stem_stride)


def _through(stage: nn.Module, h: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
    for block in stage.children():
        h = block(h, *condition)
    return h
