"""SongUNet in its DDPM++ form (Song et al. 2021; Karras et al. 2022), keys as published for EDM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Resample = Literal["", "up", "down"]
SQRT_HALF = math.sqrt(0.5)


def positions(values: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of `values` [B] at `width`/2 frequencies from 1 to 1e-4, [B,width]."""
    half = width // 2
    exponents = torch.arange(half, dtype=values.dtype, device=values.device) / (half - 1)
    angles = torch.outer(values, 10_000**-exponents)
    return torch.cat([angles.sin(), angles.cos()], 1)


def group_norm(channels: int) -> nn.GroupNorm:
    """At least four channels a group, at most 32 groups."""
    return nn.GroupNorm(max(min(32, channels // 4), 1), channels, eps=1e-6)


class ScaledConv(nn.Conv2d):
    """A convolution after a resampling by two with the filter [1,1], or none."""

    def __init__(self, inputs: int, outputs: int, kernel: int, resample: Resample = "") -> None:
        """`kernel`: odd; the size is kept but for the resampling."""
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.resample = resample
        if resample:
            # Part of the published layout. As all its entries are equal, pooling does its work.
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] to `outputs` channels, at twice or half the size where resampled."""
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return super().forward(x)


class UBlock(nn.Module):
    """Residual block with a shift from the embedding, then attention; both scaled by sqrt(1/2)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        resample: Resample = "",
        attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """`embedding`: width of the noise embedding."""
        super().__init__()
        self.dropout = dropout
        self.norm0 = group_norm(inputs)
        self.conv0 = ScaledConv(inputs, outputs, 3, resample)
        self.affine = nn.Linear(embedding, outputs)
        self.norm1 = group_norm(outputs)
        self.conv1 = ScaledConv(outputs, outputs, 3)
        self.skip = (
            ScaledConv(inputs, outputs, 1, resample) if resample or inputs != outputs else None
        )
        self.norm2 = group_norm(outputs) if attention else None
        if attention:
            self.qkv = ScaledConv(outputs, 3 * outputs, 1)
            self.proj = ScaledConv(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B,inputs,H,W] and [B,embedding] to [B,outputs,...]."""
        r = self.conv0(F.silu(self.norm0(x))) + self.affine(embedding)[:, :, None, None]
        h: Tensor = self.conv1(F.dropout(F.silu(self.norm1(r)), self.dropout, self.training))
        h = SQRT_HALF * (h + (x if self.skip is None else self.skip(x)))
        return h if self.norm2 is None else SQRT_HALF * (h + self._attend(self.norm2(h)))

    def _attend(self, h: Tensor) -> Tensor:
        """One head over all positions. The channels of qkv run q, k, v, q, k, v ..."""
        q, k, v = self.qkv(h).reshape(len(h), h.shape[1], 3, -1).unbind(2)
        # Not the fused kernel: ScoreOpt's exact gradient needs second derivatives.
        weights = (q.transpose(1, 2) @ k / math.sqrt(h.shape[1])).float().softmax(2).to(h.dtype)
        out: Tensor = self.proj((v @ weights.transpose(1, 2)).view(h.shape))
        return out


class _Plan(NamedTuple):
    """channels of images; side and width per level; blocks per level; sides with attention."""

    channels: int
    levels: list[tuple[int, int]]
    blocks: int
    attended: Sequence[int]


class SongUNet(nn.Module):
    """F(x, c_noise) of an EDM or VP wrapper; positional embedding, residual blocks, skips."""

    def __init__(
        self,
        *,
        img_resolution: int = 32,
        img_channels: int = 3,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.13,
        augment_dim: int = 9,
        label_dim: int = 0,
    ) -> None:
        """Arguments under their published names; the defaults are the CIFAR-10 network of EDM.

        `augment_dim`: width of augmentation labels, which nothing here gives it; 0 for none.
        `label_dim`: classes, or 0 for a network that is told none.
        """
        super().__init__()
        self.width, self.classes = model_channels, label_dim
        embedding = channel_mult_emb * model_channels
        self.map_augment = (
            nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        )
        self.map_label = nn.Linear(label_dim, model_channels) if label_dim else None
        self.map_layer0 = nn.Linear(model_channels, embedding)
        self.map_layer1 = nn.Linear(embedding, embedding)

        def block(a: int, b: int, resample: Resample = "", attention: bool = False) -> UBlock:
            return UBlock(a, b, embedding, resample=resample, attention=attention, dropout=dropout)

        levels = [(img_resolution >> i, model_channels * m) for i, m in enumerate(channel_mult)]
        plan = _Plan(img_channels, levels, num_blocks, attn_resolutions)
        self._decoder(block, plan, self._encoder(block, plan))
        _initialise(self)

    def _encoder(self, block: Callable[..., UBlock], plan: _Plan) -> list[int]:
        """Makes `enc`; the widths that the decoder takes from it, in order."""
        side = plan.levels[0][0]
        self.enc = nn.ModuleDict({f"{side}x{side}_conv": ScaledConv(plan.channels, self.width, 3)})
        skips = [self.width]
        for i, (side, width) in enumerate(plan.levels):
            if i:
                self.enc[f"{side}x{side}_down"] = block(skips[-1], skips[-1], "down")
                skips.append(skips[-1])
            for j in range(plan.blocks):
                made = block(skips[-1], width, attention=side in plan.attended)
                self.enc[f"{side}x{side}_block{j}"] = made
                skips.append(width)
        return skips

    def _decoder(self, block: Callable[..., UBlock], plan: _Plan, skips: list[int]) -> None:
        """Makes `dec`: every `block` takes a skip beside what comes from below."""
        self.dec = nn.ModuleDict()
        now = skips[-1]
        for side, width in reversed(plan.levels):
            name = f"{side}x{side}"
            if side == plan.levels[-1][0]:
                self.dec[f"{name}_in0"] = block(now, now, attention=True)
                self.dec[f"{name}_in1"] = block(now, now)
            else:
                self.dec[f"{name}_up"] = block(now, now, "up")
            for j in range(plan.blocks + 1):
                last = j == plan.blocks and side in plan.attended
                made = block(now + skips.pop(), width, attention=last)
                self.dec[f"{name}_block{j}"], now = made, width
        self.dec[f"{name}_aux_norm"] = group_norm(now)
        self.dec[f"{name}_aux_conv"] = ScaledConv(now, plan.channels, 3)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        augment: Tensor | None = None,
        *,
        classes: Tensor | None = None,
    ) -> Tensor:
        """x [B,C,H,W] scaled to unit size, noise labels [B], augmentation labels; F like x.

        classes: int64 [B]; the network sees one-hot labels times the root of their number.
        """
        e = positions(noise, self.width)
        if self.map_label is not None:
            shown = e.new_zeros(len(x), self.classes)
            if classes is not None:
                shown = F.one_hot(classes, self.classes).to(e.dtype) * math.sqrt(self.classes)
            e = e + self.map_label(shown)
        if self.map_augment is not None and augment is not None:
            e = e + self.map_augment(augment)
        e = F.silu(self.map_layer1(F.silu(self.map_layer0(e))))
        skips: list[Tensor] = []
        for layer in self.enc.values():
            x = layer(x, e) if isinstance(layer, UBlock) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if isinstance(layer, UBlock):
                taken = "_block" in name
                x = layer(torch.cat([x, skips.pop()], 1) if taken else x, e)
            else:
                x = layer(x) if name.endswith("_norm") else layer(F.silu(x))
        return x


def _initialise(network: SongUNet) -> None:
    """Xavier-uniform; what ends a residual starts near 0, attention's inputs are damped."""
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if name.endswith(("conv1", "proj", "aux_conv")):
            layer.weight.data *= 1e-5
        if name.endswith("qkv"):
            layer.weight.data *= math.sqrt(0.2)
