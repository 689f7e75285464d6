"""A small classifier that pools early, for many right answers per millisecond of a CPU.

After the networks of the CIFAR-10 speed records (Page 2018; Jordan 2024): few wide convolutions,
each group halves its maps right behind its first convolution, so that norms and activations, which
cost a CPU as much as a convolution of few channels, see a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class EarlyGroup(nn.Module):
    """Convolution, 2x2 max pooling and a residual convolution; [B,in,H,W] -> [B,out,H/2,W/2]."""

    def __init__(self, inside: int, outside: int) -> None:
        """Channels in and out."""
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        """The second convolution adds to what the first one gives."""
        h = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        out: Tensor = h + F.gelu(self.bn2(self.conv2(h)))
        return out


class EarlyPool(nn.Module):
    """Logits of normalised images, [B,channels,H,W] -> [B,classes]."""

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        stem: int = 24,
        classes: int = 10,
        channels: int = 3,
    ) -> None:
        """A 2x2 convolution of `stem` channels, then a group per entry of `widths`."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        pairs = zip((stem, *widths), widths, strict=False)
        self.groups = nn.ModuleList(EarlyGroup(inside, outside) for inside, outside in pairs)
        self.fc = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of `conv1` and of every group (`block1` ...), maps before the last pooling."""
        taps = {"conv1": self.conv1(x)}
        h = F.gelu(self.bn1(taps["conv1"]))
        for i, group in enumerate(self.groups, 1):
            h = taps[f"block{i}"] = group(h)
        return taps

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        last = list(self.features(x).values())[-1]
        logits: Tensor = self.fc(last.amax((2, 3)))
        return logits
