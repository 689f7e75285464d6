"""The U-Net of Dhariwal & Nichol 2021 (ADM), keys as published for guided diffusion.

Defaults are those of the unconditional network for ImageNet at 256x256. It was trained on the
1000 discrete levels of Ho et al. 2020; the wrapper around it answers at any level between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.nets.edm import Scales, VPPrecond

STEPS, BETA_FIRST, BETA_LAST = 1000, 1e-4, 0.02
Resample = Literal["", "up", "down"]


def positions(t: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of `t` [B] at `width`/2 frequencies from 1 towards 1e-4, [B,width]."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = torch.outer(t, frequencies.to(t.dtype))
    return torch.cat([angles.cos(), angles.sin()], 1)


def resampled(x: Tensor, resample: Resample) -> Tensor:
    """Twice the size by repetition, half of it by 2x2 means, or as it is."""
    if resample == "up":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return F.avg_pool2d(x, 2) if resample == "down" else x


class Residual(nn.Module):
    """Two convolutions, the second behind a norm that the embedding scales and shifts."""

    def __init__(self, inputs: int, outputs: int, embedding: int, resample: Resample = "") -> None:
        """`embedding`: width of the time embedding."""
        super().__init__()
        self.resample: Resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs))
        # The identity stands where the published class has its dropout: numbers are part of keys.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs),
            nn.SiLU(),
            nn.Identity(),
            _silent(nn.Conv2d(outputs, outputs, 3, padding=1)),
        )
        same = inputs == outputs
        self.skip_connection = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B,inputs,H,W] and [B,embedding] to [B,outputs,...]."""
        h = resampled(self.in_layers[:2](x), self.resample)
        x = resampled(x, self.resample)
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, 1)
        h = self.out_layers[0](self.in_layers[2](h)) * (1 + scale) + shift
        out: Tensor = self.skip_connection(x) + self.out_layers[1:](h)
        return out


class Attention(nn.Module):
    """Self-attention over all positions; each head's channels of qkv run q, k, v."""

    def __init__(self, channels: int, head: int) -> None:
        """`head`: channels of a head.

        Raises:
            ValueError: they do not divide the channels.
        """
        super().__init__()
        if channels % head:
            raise ValueError(f"heads of {head} channels do not divide {channels}")
        self.heads = channels // head
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _silent(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B,channels,H,W] plus what it attends to; the embedding is not used."""
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat)).reshape(len(x) * self.heads, -1, flat.shape[2])
        q, k, v = qkv.chunk(3, 1)
        scale = q.shape[1] ** -0.25
        # Not the fused kernel: ScoreOpt's exact gradient needs second derivatives.
        weights = ((q * scale).transpose(1, 2) @ (k * scale)).float().softmax(2).to(v.dtype)
        h = (v @ weights.transpose(1, 2)).reshape(flat.shape)
        out: Tensor = (flat + self.proj_out(h)).reshape(x.shape)
        return out


def _silent(layer: nn.Conv1d | nn.Conv2d) -> nn.Module:
    """A layer that starts at zero, as what ends a residual does."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class GuidedUNet(nn.Module):
    """The noise in x_t, from images [B,C,H,W] of unit variance and steps t [B] in 0..999."""

    def __init__(
        self,
        *,
        channels: int = 3,
        model_channels: int = 256,
        channel_mult: Sequence[int] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_levels: Sequence[int] = (3, 4, 5),
        num_head_channels: int = 64,
    ) -> None:
        """`attention_levels`: those of `channel_mult`, from 0, that have attention."""
        super().__init__()
        self.channels, self.width = channels, model_channels
        embedding = 4 * model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        widths = [model_channels * m for m in channel_mult]

        def block(level: int, a: int, b: int) -> list[nn.Module]:
            attended = level in attention_levels
            attention = [Attention(b, num_head_channels)] if attended else []
            return [Residual(a, b, embedding), *attention]

        now = widths[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(channels, now, 3, padding=1)])])
        skips = [now]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.input_blocks.append(nn.ModuleList(block(level, now, width)))
                skips.append(now := width)
            if level < len(widths) - 1:
                self.input_blocks.append(nn.ModuleList([Residual(now, now, embedding, "down")]))
                skips.append(now)
        self.middle_block = nn.ModuleList(
            [
                Residual(now, now, embedding),
                Attention(now, num_head_channels),
                Residual(now, now, embedding),
            ]
        )
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                made = block(level, now + skips.pop(), width)
                now = width
                if level and i == num_res_blocks:
                    made.append(Residual(now, now, embedding, "up"))
                self.output_blocks.append(nn.ModuleList(made))
        # Besides the noise the published network predicts variances, which are not used here.
        last = _silent(nn.Conv2d(now, 2 * channels, 3, padding=1))
        self.out = nn.Sequential(nn.GroupNorm(32, now), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Like `x`, whose sides are multiples of 2^(levels-1)."""
        e = self.time_embed(positions(t, self.width))
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = _through(block, x, e)
            skips.append(x)
        x = _through(self.middle_block, x, e)
        for block in self.output_blocks:
            x = _through(block, torch.cat([x, skips.pop()], 1), e)
        out: Tensor = self.out(x)[:, : self.channels]
        return out


def _through(block: nn.Module, x: Tensor, e: Tensor) -> Tensor:
    for layer in block.children():
        x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, e)
    return x


class DiscreteVP(VPPrecond):
    """The scales of VP for a network of 1000 discrete steps; levels between them interpolate."""

    ladder: Tensor

    def __init__(self, model: nn.Module, side: int | None = None) -> None:
        """`side`: the only size of images that the network was trained on."""
        super().__init__(model)
        self.side = side
        betas = torch.linspace(BETA_FIRST, BETA_LAST, STEPS, dtype=torch.float64)
        kept = (1 - betas).cumprod(0)
        self.register_buffer("ladder", ((1 - kept) / kept).log() / 2, persistent=False)

    def scales(self, sigma: Tensor) -> Scales:
        """As VPPrecond's, with the label that the discrete schedule has at sigma."""
        return super().scales(sigma)._replace(noise=self.step(sigma))

    def step(self, sigma: Tensor) -> Tensor:
        """The step in 0..999, with fractions, whose noise against the image is `sigma`."""
        ladder = self.ladder.to(torch.float32) if sigma.device.type == "mps" else self.ladder
        wanted = sigma.to(ladder.dtype).log().clamp(ladder[0], ladder[-1])
        below = (torch.searchsorted(ladder, wanted, right=True) - 1).clamp(0, STEPS - 2)
        low, high = ladder[below], ladder[below + 1]
        return (below + (wanted - low) / (high - low)).to(sigma.dtype)


def guided(*, side: int = 256, **unet: Any) -> DiscreteVP:
    """The published network of guided diffusion; arguments of GuidedUNet."""
    return DiscreteVP(GuidedUNet(**unet), side)
