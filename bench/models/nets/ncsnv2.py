"""NCSNv2 (Song & Ermon 2020, Appendix A): a RefineNet score network for 28x28 and 32x32 images.

Parameter names are those of the authors' checkpoints. `unit=True` is the form in which ADP uses
it (Yoon et al. 2021): the output is not divided by a noise level and no label is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ladder(begin: float, end: float, levels: int) -> Tensor:
    """Geometric noise levels [levels] from `begin` down to `end` (Song & Ermon 2019)."""
    return torch.linspace(math.log(begin), math.log(end), levels).exp()


class InstanceNormPlus(nn.Module):
    """InstanceNorm++ (Song & Ermon 2019, Appendix A): keeps the channel means, standardised."""

    def __init__(self, width: int) -> None:
        """`width`: channels; three parameters each."""
        super().__init__()
        self.alpha = nn.Parameter(1 + 0.02 * torch.randn(width))
        self.gamma = nn.Parameter(1 + 0.02 * torch.randn(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B,width,H,W] -> same."""
        means = x.mean((2, 3))
        centred = means - means.mean(1, keepdim=True)
        shift = centred / torch.sqrt(means.var(1, keepdim=True) + 1e-5)
        h = F.instance_norm(x) + (shift * self.alpha)[:, :, None, None]
        return self.gamma[:, None, None] * h + self.beta[:, None, None]


class PooledConv(nn.Module):
    """A convolution followed by 2x2 means, under the name `conv`."""

    def __init__(self, inside: int, outside: int, kernel: int) -> None:
        """Channels in and out and the kernel's side."""
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H/2,W/2]."""
        return F.avg_pool2d(self.conv(x), 2)


class ResidualBlock(nn.Module):
    """norm, ELU, conv, norm, ELU, conv, plus shortcut; dilated blocks keep the resolution."""

    def __init__(
        self,
        inside: int,
        outside: int,
        dilation: int = 1,
        pooled: bool = False,
        first: bool = False,
    ) -> None:
        """`first`: the block has a shortcut convolution; `pooled`: it halves the image."""
        super().__init__()

        def conv(a: int, b: int) -> nn.Conv2d:
            return nn.Conv2d(a, b, 3, padding=dilation, dilation=dilation)

        middle = inside if pooled else outside
        self.normalize1 = InstanceNormPlus(inside)
        self.conv1 = conv(inside, middle)
        self.normalize2 = InstanceNormPlus(middle)
        self.conv2: nn.Module = PooledConv(middle, outside, 3) if pooled else conv(middle, outside)
        self.shortcut: nn.Module | None = None
        if pooled:
            self.shortcut = PooledConv(inside, outside, 1)
        elif first:
            self.shortcut = conv(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H,W], halved where pooled."""
        h = self.conv1(F.elu(self.normalize1(x)))
        h = self.conv2(F.elu(self.normalize2(h)))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out: Tensor = h + shortcut
        return out


class RCU(nn.Module):
    """Residual convolution units (Lin et al. 2017): `blocks` times x + conv(ELU(conv(ELU x)))."""

    def __init__(self, width: int, blocks: int) -> None:
        """`width` channels; parameters are named `{block}_{stage}_conv`."""
        super().__init__()
        self.blocks = blocks
        for block in range(1, blocks + 1):
            for stage in (1, 2):
                conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
                self.add_module(f"{block}_{stage}_conv", conv)

    def forward(self, x: Tensor) -> Tensor:
        """[B,width,H,W] -> same."""
        for block in range(1, self.blocks + 1):
            h = x
            for stage in (1, 2):
                h = self.get_submodule(f"{block}_{stage}_conv")(F.elu(h))
            x = x + h
        return x


class MSF(nn.Module):
    """Multi-resolution fusion: the sum of convolved inputs, resized to `size`."""

    def __init__(self, inside: list[int], outside: int) -> None:
        """One convolution per input width in `inside`."""
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(w, outside, 3, padding=1) for w in inside)

    def forward(self, inputs: list[Tensor], size: torch.Size) -> Tensor:
        """Maps [B,inside_i,H_i,W_i] -> [B,outside,*size]."""
        resized = [
            F.interpolate(conv(x), size=size, mode="bilinear", align_corners=True)
            for conv, x in zip(self.convs, inputs, strict=True)
        ]
        return torch.stack(resized).sum(0)


class CRP(nn.Module):
    """Chained residual pooling: two rounds of 5x5 maximum and convolution, all summed up."""

    def __init__(self, width: int) -> None:
        """`width` channels."""
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,width,H,W] -> same."""
        x = F.elu(x)
        path = x
        for conv in self.convs:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            x = x + path
        return x


class Refine(nn.Module):
    """RefineNet block (Lin et al. 2017): units per input, fusion, pooling, output units."""

    def __init__(self, inside: list[int], outside: int, output_blocks: int = 1) -> None:
        """Widths of the inputs; with a single input there is nothing to fuse."""
        super().__init__()
        self.adapt_convs = nn.ModuleList(RCU(width, 2) for width in inside)
        self.output_convs = RCU(outside, output_blocks)
        self.msf = MSF(inside, outside) if len(inside) > 1 else None
        self.crp = CRP(outside)

    def forward(self, inputs: list[Tensor], size: torch.Size) -> Tensor:
        """Maps [B,inside_i,H_i,W_i] -> [B,outside,*size]."""
        adapted = [units(x) for units, x in zip(self.adapt_convs, inputs, strict=True)]
        h = adapted[0] if self.msf is None else self.msf(adapted, size)
        out: Tensor = self.output_convs(self.crp(h))
        return out


class NCSNv2(nn.Module):
    """Score s(x, sigma), or sigma * s(x, sigma) with `unit`; [B,C,H,W] in [0,1] -> like x."""

    sigmas: Tensor

    def __init__(
        self,
        *,
        ngf: int = 128,
        num_classes: int = 232,
        sigma_begin: float = 50.0,
        sigma_end: float = 0.01,
        image_size: int = 32,
        channels: int = 3,
        unit: bool = True,
    ) -> None:
        """`ngf` base width; `num_classes` noise levels, geometric from `sigma_begin` down.

        The network is fully convolutional: `image_size` is kept because checkpoints name it.
        """
        super().__init__()
        self.image_size, self.unit = image_size, unit
        self.register_buffer("sigmas", ladder(sigma_begin, sigma_end, num_classes))
        n = ngf
        self.begin_conv = nn.Conv2d(channels, n, 3, padding=1)
        self.normalizer = InstanceNormPlus(n)
        self.end_conv = nn.Conv2d(n, channels, 3, padding=1)
        self.res1 = nn.Sequential(ResidualBlock(n, n), ResidualBlock(n, n))
        self.res2 = nn.Sequential(ResidualBlock(n, 2 * n, pooled=True), ResidualBlock(2 * n, 2 * n))
        self.res3 = nn.Sequential(
            ResidualBlock(2 * n, 2 * n, 2, first=True), ResidualBlock(2 * n, 2 * n, 2)
        )
        self.res4 = nn.Sequential(
            ResidualBlock(2 * n, 2 * n, 4, first=True), ResidualBlock(2 * n, 2 * n, 4)
        )
        self.refine1 = Refine([2 * n], 2 * n)
        self.refine2 = Refine([2 * n, 2 * n], 2 * n)
        self.refine3 = Refine([2 * n, 2 * n], n)
        self.refine4 = Refine([n, n], n, output_blocks=3)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """`labels` [B] int64 choose the noise levels; only the divided form needs them."""
        h1 = self.res1(self.begin_conv(2 * x - 1))
        h2 = self.res2(h1)
        h3 = self.res3(h2)
        h4 = self.res4(h3)
        r = self.refine1([h4], h4.shape[2:])
        r = self.refine2([h3, r], h3.shape[2:])
        r = self.refine3([h2, r], h2.shape[2:])
        r = self.refine4([h1, r], h1.shape[2:])
        out: Tensor = self.end_conv(F.elu(self.normalizer(r)))
        if self.unit or labels is None:
            return out
        return out / self.sigmas[labels].view(-1, 1, 1, 1)
