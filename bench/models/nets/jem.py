"""JEM's WideResNet (Grathwohl et al. 2020) in its published layout: without normalisation."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2


class _JEMBlock(nn.Module):
    """Pre-activation block; the stride sits on conv2, the shortcut takes the raw input."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride=stride, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut.append(nn.Conv2d(inside, outside, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.leaky_relu(x, SLOPE))
        out: Tensor = self.conv2(F.leaky_relu(h, SLOPE)) + self.shortcut(x)
        return out


class _JEMFeatures(nn.Module):
    """[B,channels,H,W] in [-1,1] to [B,64*widen]; `linear` is in the files and not used."""

    def __init__(self, depth: int, widen: int, channels: int, stem_stride: int) -> None:
        super().__init__()
        count = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(channels, widths[0], 3, stem_stride, 1)

        def group(inside: int, outside: int, stride: int) -> nn.Sequential:
            rest = (_JEMBlock(outside, outside, 1) for _ in range(count - 1))
            return nn.Sequential(_JEMBlock(inside, outside, stride), *rest)

        self.layer1 = group(widths[0], widths[1], 1)
        self.layer2 = group(widths[1], widths[2], 2)
        self.layer3 = group(widths[2], widths[3], 2)
        self.linear = nn.Linear(widths[3], 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return F.leaky_relu(h, SLOPE).mean((2, 3))


class JEMWideResNet(nn.Module):
    """Logits [B,classes] of images [B,channels,H,W] in [-1,1]; their logsumexp is log p(x) + c.

    `energy_output` is in the files of class-conditional models too, where nothing uses it.
    """

    def __init__(
        self,
        depth: int = 28,
        widen: int = 10,
        classes: int = 10,
        channels: int = 3,
        stem_stride: int = 1,
    ) -> None:
        """`depth` = 6n + 4 layers, widths 16, 32, 64 times `widen`; `stem_stride` 2 is ours."""
        super().__init__()
        self.f = _JEMFeatures(depth, widen, channels, stem_stride)
        self.energy_output = nn.Linear(64 * widen, 1)
        self.class_output = nn.Linear(64 * widen, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.class_output(self.f(x))
        return logits
