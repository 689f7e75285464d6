"""ResNets for small images (He et al. 2016, sections 4.2 and 3.3) under the names that others use.

Of three stages and width 16 they are the paper's networks for CIFAR-10: 20, 56 and 110 layers are
3, 9 and 18 blocks a stage, and shortcuts pad with zeros (its option A). Of four stages and width 64
they are what is called ResNet-18 on CIFAR-10 (kuangliu/pytorch-cifar), with projections (B).

`cut` makes their rectifiers LP-ReLU1 (Hossain et al. 2020): a twentieth of the slope above it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rectified(x: Tensor, cut: float) -> Tensor:
    """max(0, x), and above `cut` a twentieth of what is over it; 0: no cut."""
    h = F.relu(x)
    return torch.minimum(h, cut + 0.05 * (h - cut)) if cut else h


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, and channels of zeros before and after (option A)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        """Channels in and out."""
        super().__init__()
        self.before = (outside - inside) // 2
        self.after = outside - inside - self.before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H/stride,W/stride]."""
        taken = x[:, :, :: self.stride, :: self.stride]
        return F.pad(taken, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; [B,in,H,W] -> [B,out,H/stride,W/stride]."""

    def __init__(
        self, inside: int, outside: int, stride: int, *, projection: bool, cut: float = 0.0
    ) -> None:
        """Channels in and out, the stride, and whether a shortcut that differs is a convolution."""
        super().__init__()
        self.cut = cut
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Sequential()
        if (stride != 1 or inside != outside) and projection:
            convolution = nn.Conv2d(inside, outside, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outside))
        elif stride != 1 or inside != outside:
            self.shortcut = PaddedShortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The rectified sum of both ways."""
        h = self.bn2(self.conv2(rectified(self.bn1(self.conv1(x)), self.cut)))
        return rectified(h + self.shortcut(x), self.cut)


class ResNet(nn.Module):
    """Logits of normalised images, [B,channels,H,W] -> [B,classes]."""

    def __init__(
        self,
        blocks: Sequence[int] = (3, 3, 3),
        width: int = 16,
        classes: int = 10,
        channels: int = 3,
        *,
        projection: bool = False,
        cut: float = 0.0,
    ) -> None:
        """`blocks` of each stage; the width doubles from stage to stage, the resolution halves."""
        super().__init__()
        self.cut = cut
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inside = width
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for number, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            stage = nn.Sequential()
            for _ in range(count):
                stride = 2 if number and not len(stage) else 1
                wide = width << number
                stage.append(BasicBlock(inside, wide, stride, projection=projection, cut=cut))
                inside = wide
            self.add_module(name, stage)
        self.linear = nn.Linear(inside, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of `conv1` and of every block (`layer1.0` ...), maps before any pooling."""
        taps = {"conv1": self.conv1(x)}
        h = rectified(self.bn1(taps["conv1"]), self.cut)
        for name in self.stages:
            for i, block in enumerate(self.get_submodule(name).children()):
                h = taps[f"{name}.{i}"] = block(h)
        return taps

    def pooled(self, x: Tensor) -> Tensor:
        """Features before the linear layer: the mean over pixels, [B,last width]."""
        return list(self.features(x).values())[-1].mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.linear(self.pooled(x))
        return logits


def projected(
    blocks: Sequence[int] = (2, 2, 2, 2),
    width: int = 64,
    classes: int = 10,
    channels: int = 3,
    cut: float = 0.0,
) -> ResNet:
    """The ResNet whose shortcuts are convolutions (option B); ResNet-18 unless told otherwise."""
    return ResNet(blocks, width, classes, channels, projection=True, cut=cut)
