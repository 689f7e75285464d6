"""PixelCNN++ (Salimans et al. 2017) under the published parameter names (weight_g, weight_v).

An autoregressive image model of two streams. At position (i, j) the vertical stream `u` has seen
the rows above i, the horizontal one `ul` also the pixels to the left of j. No masks: kernels that
reach up and left only, and pictures shifted down or right by one.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = 3
"""Resolutions: the image's, its half and its quarter."""
M = TypeVar("M", bound=nn.Module)


def as_kind(kind: type[M], module: nn.Module) -> M:
    """`module`, which is of that class: lists of modules forget it."""
    assert isinstance(module, kind)
    return module


class Normed(nn.Module):
    """A kernel g v/|v| and a bias (Salimans & Kingma 2016); |v| over all dimensions but the first.

    torch's own `weight_norm` gives the same names, but is deprecated.
    """

    def __init__(self, *shape: int, outside: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outside))
        self.weight_g = nn.Parameter(torch.empty(shape[0], *[1] * (len(shape) - 1)))
        self.weight_v = nn.Parameter(torch.empty(*shape))
        bound = self.weight_v[0].numel() ** -0.5
        nn.init.uniform_(self.weight_v, -bound, bound)
        with torch.no_grad():
            self.weight_g.copy_(self._norm())

    def _norm(self) -> Tensor:
        dimensions = tuple(range(1, self.weight_v.dim()))
        return self.weight_v.square().sum(dimensions, keepdim=True).sqrt()

    def weight(self) -> Tensor:
        """The kernel itself, like `weight_v`."""
        return self.weight_v * (self.weight_g / self._norm())


class CausalConv(nn.Module):
    """A convolution that reaches `height`-1 rows up; to both sides, or to the left only."""

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int], *, right: bool, stride: int = 1
    ) -> None:
        """right: nothing to the right of a pixel is read (`ul`); otherwise as far as to its left"""
        super().__init__()
        self.conv = Normed(outside, inside, *kernel, outside=outside)
        height, width = kernel
        sides = (width - 1, 0) if right else (width // 2, width // 2)
        self.padding = (*sides, height - 1, 0)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H/stride,W/stride]."""
        padded = F.pad(x, self.padding)
        return F.conv2d(padded, self.conv.weight(), self.conv.bias, self.stride)


class Deconv(nn.Module):
    """Doubles the resolution; each of its pixels depends on the one below it in size only."""

    def __init__(self, inside: int, outside: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.deconv = Normed(inside, outside, *kernel, outside=outside)
        self.left = kernel[1] // 2 if kernel[1] == 3 else 0

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,2H,2W]: one row goes, and a column on each side or one."""
        out = F.conv_transpose2d(
            x, self.deconv.weight(), self.deconv.bias, stride=2, output_padding=1
        )
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return out[:, :, :height, self.left : self.left + width]


class Nin(nn.Module):
    """A 1x1 convolution."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.lin_a = Normed(outside, inside, outside=outside)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H,W]."""
        return F.conv2d(x, self.lin_a.weight()[:, :, None, None], self.lin_a.bias)


def celu(x: Tensor, dim: int = 1) -> Tensor:
    """ELU of x and -x, side by side along `dim`."""
    return F.elu(torch.cat([x, -x], dim))


class GatedBlock(nn.Module):
    """Gated residual block; `skips` maps of the same width enter through a 1x1 convolution."""

    def __init__(self, width: int, kernel: tuple[int, int], *, right: bool, skips: int) -> None:
        super().__init__()
        self.conv_input = CausalConv(2 * width, width, kernel, right=right)
        if skips:
            self.nin_skip = Nin(2 * skips * width, width)
        self.conv_out = CausalConv(2 * width, 2 * width, kernel, right=right)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """`x` [B,width,H,W] plus its gated residual."""
        c = self.conv_input(celu(x))
        if skip is not None:
            c = c + self.nin_skip(celu(skip))
        # The published port drops whole channels; the first version dropped single values.
        c = F.dropout2d(celu(c), 0.5, self.training)
        return x + F.glu(self.conv_out(c), 1)


class Stage(nn.Module):
    """The blocks of one resolution, in one direction."""

    def __init__(self, count: int, width: int, *, down: bool) -> None:
        """down: on the way back to the full resolution, where `u` has a skip and `ul` has two."""
        super().__init__()
        extra = int(down)
        self.u_stream = nn.ModuleList(
            GatedBlock(width, (2, 3), right=False, skips=extra) for _ in range(count)
        )
        self.ul_stream = nn.ModuleList(
            GatedBlock(width, (2, 2), right=True, skips=1 + extra) for _ in range(count)
        )

    def pairs(self) -> list[tuple[GatedBlock, GatedBlock]]:
        """(vertical, horizontal), in order."""
        both = zip(self.u_stream, self.ul_stream, strict=True)
        return [(as_kind(GatedBlock, u), as_kind(GatedBlock, ul)) for u, ul in both]


def right_shift(x: Tensor) -> Tensor:
    """One pixel to the right; zeros come in."""
    return F.pad(x, (1, -1))


def down_shift(x: Tensor) -> Tensor:
    """One pixel down; zeros come in."""
    return F.pad(x, (0, 0, 1, -1))


class PixelCNNpp(nn.Module):
    """[B,channels,H,W] in [-1,1] -> parameters of `bench.models.nets.logistic` [B,10K or 3K,H,W].

    What stands at a position depends on no pixel at or after it in raster order. H and W are
    multiples of 4.
    """

    def __init__(
        self,
        *,
        nr_resnet: int = 5,
        nr_filters: int = 160,
        nr_logistic_mix: int = 10,
        input_channels: int = 3,
        levels: int = 256,
    ) -> None:
        """Defaults are those of the published weights.

        `levels` is how many grey levels the modelled images have; the network does not read it,
        but whoever reads its output has to know.
        """
        super().__init__()
        if input_channels not in (1, 3):
            raise ValueError(f"input_channels {input_channels} is not 1 or 3")
        self.channels, self.levels, self.mixtures = input_channels, levels, nr_logistic_mix
        width, plane = nr_filters, input_channels + 1
        down, up, few = {"right": False}, {"right": True}, range(STAGES - 1)
        self.u_init = CausalConv(plane, width, (2, 3), **down)
        self.ul_init = nn.ModuleList(
            [CausalConv(plane, width, (1, 3), **down), CausalConv(plane, width, (2, 1), **up)]
        )
        self.up_layers = nn.ModuleList(Stage(nr_resnet, width, down=False) for _ in range(STAGES))
        self.down_layers = nn.ModuleList(
            Stage(nr_resnet + (stage > 0), width, down=True) for stage in range(STAGES)
        )
        self.downsize_u_stream = nn.ModuleList(
            CausalConv(width, width, (2, 3), **down, stride=2) for _ in few
        )
        self.downsize_ul_stream = nn.ModuleList(
            CausalConv(width, width, (2, 2), **up, stride=2) for _ in few
        )
        self.upsize_u_stream = nn.ModuleList(Deconv(width, width, (2, 3)) for _ in few)
        self.upsize_ul_stream = nn.ModuleList(Deconv(width, width, (2, 2)) for _ in few)
        per_mixture = 10 if input_channels == 3 else 3
        self.nin_out = Nin(width, per_mixture * nr_logistic_mix)

    def forward(self, x: Tensor) -> Tensor:
        """The mixture at every position."""
        x = with_ones(x)
        u = down_shift(self.u_init(x))
        ul = down_shift(self.ul_init[0](x)) + right_shift(self.ul_init[1](x))
        us, uls = [u], [ul]
        for stage in range(STAGES):
            if stage:
                u = self.downsize_u_stream[stage - 1](u)
                ul = self.downsize_ul_stream[stage - 1](ul)
                us.append(u)
                uls.append(ul)
            for vertical, horizontal in as_kind(Stage, self.up_layers[stage]).pairs():
                u = vertical(u)
                ul = horizontal(ul, u)
                us.append(u)
                uls.append(ul)
        u, ul = us.pop(), uls.pop()
        for stage in range(STAGES):
            if stage:
                u = self.upsize_u_stream[stage - 1](u)
                ul = self.upsize_ul_stream[stage - 1](ul)
            for vertical, horizontal in as_kind(Stage, self.down_layers[stage]).pairs():
                u = vertical(u, us.pop())
                ul = horizontal(ul, torch.cat([u, uls.pop()], 1))
        out: Tensor = self.nin_out(F.elu(ul))
        return out


def with_ones(x: Tensor) -> Tensor:
    """`x` and a plane of ones, which tells the image from the zeros around it."""
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)
