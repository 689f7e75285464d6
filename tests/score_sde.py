"""The DDPM++ of score-SDE under its published names, written from the paper for comparison.

Song et al. 2021, Appendix H: residual blocks of BigGAN without FIR, skips scaled by sqrt(1/2),
self-attention of Ho et al. 2020. The names (`all_modules.N.GroupNorm_0`, `NIN_0.W` ...) are those
of the published checkpoints.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, embedding: int, change: str = "") -> None:
        super().__init__()
        self.change = change
        self.GroupNorm_0 = norm(inputs)
        self.Conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.Dense_0 = nn.Linear(embedding, outputs)
        self.GroupNorm_1 = norm(outputs)
        self.Conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs or change:
            self.Conv_2 = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = F.silu(self.GroupNorm_0(x))
        if self.change == "up":
            h, x = (v.repeat_interleave(2, 2).repeat_interleave(2, 3) for v in (h, x))
        if self.change == "down":
            h, x = (v.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) for v in (h, x))
        h = self.Conv_0(h) + self.Dense_0(F.silu(e))[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h)))
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        out: Tensor = (x + h) / math.sqrt(2)
        return out


class Nin(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(channels, channels) / channels**0.5)
        self.b = nn.Parameter(torch.randn(channels) / 10)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bihw,io->bohw", x, self.W) + self.b[:, None, None]


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (Nin(channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.GroupNorm_0(x)
        q, k, v = self.NIN_0(h), self.NIN_1(h), self.NIN_2(h)
        w = torch.einsum("bchw,bcij->bhwij", q, k) * x.shape[1] ** -0.5
        w = w.flatten(3).softmax(3).view(w.shape)
        out: Tensor = x + self.NIN_3(torch.einsum("bhwij,bcij->bchw", w, v))
        return out / math.sqrt(2)


class NCSNpp(nn.Module):
    """With noise levels as a buffer, as published; they are not used."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.register_buffer("sigmas", torch.linspace(1, 0, 5))
        self.width, self.blocks = width, blocks
        e, widths = 4 * width, [width, 2 * width, 2 * width, 2 * width]
        self.all_modules = nn.ModuleList([nn.Linear(width, e), nn.Linear(e, e)])
        add = self.all_modules.append
        add(nn.Conv2d(3, width, 3, padding=1))
        now, skips = width, [width]
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                add(Residual(now, wide, e))
                now = wide
                if level == 1:
                    add(Attention(now))
                skips.append(now)
            if level < 3:
                add(Residual(now, now, e, "down"))
                skips.append(now)
        for module in (Residual(now, now, e), Attention(now), Residual(now, now, e)):
            add(module)
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                add(Residual(now + skips.pop(), wide, e))
                now = wide
            if level == 1:
                add(Attention(now))
            if level:
                add(Residual(now, now, e, "up"))
        add(norm(now))
        add(nn.Conv2d(now, 3, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.width // 2
        angles = torch.outer(t, torch.exp(torch.arange(half) * -math.log(10_000) / (half - 1)))
        modules: list[Any] = list(self.all_modules)
        e = modules[1](F.silu(modules[0](torch.cat([angles.sin(), angles.cos()], 1))))
        h = modules[2](x)
        skips, place = [h], 3
        for level in range(4):
            for _ in range(self.blocks):
                h = modules[place](h, e)
                place += 1
                if level == 1:
                    h, place = modules[place](h), place + 1
                skips.append(h)
            if level < 3:
                h, place = modules[place](h, e), place + 1
                skips.append(h)
        h = modules[place](h, e)
        h = modules[place + 2](modules[place + 1](h), e)
        place += 3
        for level in reversed(range(4)):
            for _ in range(self.blocks + 1):
                h = modules[place](torch.cat([h, skips.pop()], 1), e)
                place += 1
            if level == 1:
                h, place = modules[place](h), place + 1
            if level:
                h, place = modules[place](h, e), place + 1
        out: Tensor = modules[place + 1](F.silu(modules[place](h)))
        return out


def checkpoint(model: NCSNpp, averages: NCSNpp) -> dict[str, Any]:
    """A training checkpoint as published: of a DataParallel, averages as a list."""
    return {
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
        "model": nn.DataParallel(model).state_dict(),
        "ema": {
            "decay": 0.9999,
            "num_updates": 7,
            "shadow_params": [p.detach().clone() for p in averages.parameters()],
        },
        "step": 7,
    }
