"""The layers of a PixelCNN++ one row (`u`) or one position (`ul`) at a time, for decoding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.nets.pixelcnnpp import (
    STAGES,
    CausalConv,
    GatedBlock,
    Nin,
    PixelCNNpp,
    Stage,
    as_kind,
    celu,
)


class RowConv:
    """A convolution of `u`, one row of it at a time: [B,inside,W] -> [B,outside,W/stride]."""

    def __init__(self, conv: CausalConv) -> None:
        self.weight, self.bias, self.stride = conv.conv.weight(), conv.conv.bias, conv.stride
        self.above: Tensor | None = None

    def __call__(self, row: Tensor, wanted: bool = True) -> Tensor:
        """The row of the output at this row of the input; remembered only, where not `wanted`."""
        above = torch.zeros_like(row) if self.above is None else self.above
        self.above = row
        if not wanted:
            return row
        both = torch.stack([above, row], 2)
        return F.conv2d(both, self.weight, self.bias, self.stride, (0, 1))[:, :, 0]


class PointConv:
    """A 2x2 convolution of `ul`, one position at a time, with the row above read in one go."""

    def __init__(self, conv: CausalConv, batch: int, width: int) -> None:
        """`width` of its input, in positions."""
        weight, self.bias, self.stride = conv.conv.weight(), conv.conv.bias, conv.stride
        outside, inside = weight.shape[:2]
        # Columns of a window lie side by side: [left | here] of the row above, then of this row.
        halves = weight.permute(2, 3, 1, 0).reshape(2, 2 * inside, outside)
        self.upper, self.lower = halves[0].contiguous(), halves[1].contiguous()
        self.row = weight.new_zeros(batch, width + 1, inside)
        self.base = weight.new_zeros(0)

    def begin_row(self, extra: Tensor | None = None) -> None:
        """What the row above gives to each position, with the bias and `extra` [B,W,outside].

        Only after it may this row's values be put.
        """
        windows = self.row.unfold(1, 2, self.stride).transpose(2, 3).flatten(2)
        self.base = windows @ self.upper + self.bias
        if extra is not None:
            self.base = self.base + extra

    def put(self, j: int, value: Tensor) -> None:
        """The input [B,inside] at column j."""
        self.row[:, j + 1] = value

    def at(self, j: int) -> Tensor:
        """The output [B,outside] at its column j, once its input is put."""
        start = j * self.stride
        window = self.row[:, start : start + 2].flatten(1)
        return torch.addmm(self.base[:, j], window, self.lower)


def pointwise(nin: Nin) -> tuple[Tensor, Tensor]:
    """Weight [inside,outside] and bias of a 1x1 convolution."""
    return nin.lin_a.weight().T.contiguous(), nin.lin_a.bias


def over_row(row: Tensor) -> Tensor:
    """[B,F,W] -> [B,W,F]."""
    return row.transpose(1, 2)


class RowBlock:
    """A gated block of `u`."""

    def __init__(self, block: GatedBlock) -> None:
        self.first, self.last = RowConv(block.conv_input), RowConv(block.conv_out)
        self.skip = pointwise(block.nin_skip) if hasattr(block, "nin_skip") else None

    def __call__(self, u: Tensor, skip: Tensor | None = None) -> Tensor:
        """A row [B,F,W] of its output from those of its inputs."""
        c = self.first(celu(u))
        if skip is not None and self.skip is not None:
            weight, bias = self.skip
            c = c + (over_row(celu(skip)) @ weight + bias).transpose(1, 2)
        return u + F.glu(self.last(celu(c)), 1)


class PointBlock:
    """A gated block of `ul`; its skip from `u` is known for a whole row."""

    def __init__(self, block: GatedBlock, batch: int, width: int) -> None:
        self.first = PointConv(block.conv_input, batch, width)
        self.last = PointConv(block.conv_out, batch, width)
        weight, self.skip_bias = pointwise(block.nin_skip)
        inside = len(weight) // 2
        size = block.conv_input.conv.weight_v.shape[0]
        # The skip of a block on the way down is cELU of [u, ul] = ELU of [u, ul, -u, -ul].
        halves = weight.view(2, inside // size, size, size)
        self.of_u = halves[:, 0].flatten(0, 1)
        self.of_ul = halves[:, 1].flatten(0, 1) if inside > size else None

    def begin_row(self, u: Tensor) -> None:
        """`u` [B,F,W]: the row of the vertical stream beside it."""
        self.first.begin_row(over_row(celu(u)) @ self.of_u + self.skip_bias)
        self.last.begin_row()

    def at(self, j: int, ul: Tensor, skip: Tensor | None = None) -> Tensor:
        """The output [B,F] at column j."""
        self.first.put(j, celu(ul))
        c = self.first.at(j)
        if skip is not None and self.of_ul is not None:
            c = torch.addmm(c, celu(skip), self.of_ul)
        self.last.put(j, celu(c))
        return ul + F.glu(self.last.at(j), 1)


class Level:
    """The blocks of one resolution, and what the next coarser one gave to it."""

    def __init__(self, network: PixelCNNpp, depth: int, batch: int, width: int) -> None:
        up = as_kind(Stage, network.up_layers[depth]).pairs()
        down = as_kind(Stage, network.down_layers[STAGES - 1 - depth]).pairs()
        self.u_up = [RowBlock(u) for u, _ in up]
        self.u_down = [RowBlock(u) for u, _ in down]
        self.ul_up = [PointBlock(ul, batch, width) for _, ul in up]
        self.ul_down = [PointBlock(ul, batch, width) for _, ul in down]
        bias = network.u_init.conv.bias
        self.u_coarse = bias.new_zeros(batch, len(bias), 2, width)
        self.ul_coarse = torch.zeros_like(self.u_coarse)

    def rise_row(self, u: Tensor) -> list[Tensor]:
        """Rows of `u` on the way up, `u` itself first."""
        us = [u]
        for row_block, block in zip(self.u_up, self.ul_up, strict=True):
            us.append(row_block(us[-1]))
            block.begin_row(us[-1])
        return us

    def fall_row(self, u: Tensor, us: list[Tensor]) -> Tensor:
        """The row of `u` after the way down; `us` are the skips that are left."""
        for row_block, block in zip(self.u_down, self.ul_down, strict=True):
            u = row_block(u, us.pop())
            block.begin_row(u)
        return u

    def rise(self, j: int, ul: Tensor) -> list[Tensor]:
        """`ul` [B,F] at column j on the way up, itself first."""
        uls = [ul]
        for block in self.ul_up:
            uls.append(block.at(j, uls[-1]))
        return uls

    def fall(self, j: int, ul: Tensor, uls: list[Tensor]) -> Tensor:
        """`ul` [B,F] at column j after the way down."""
        for block in self.ul_down:
            ul = block.at(j, ul, uls.pop())
        return ul
