"""WideResNet with the layout of the meliketoy repository, on which ADP and ScoreOpt build.

Beside the names of its parameters it differs from RobustBench's: every convolution has a bias,
the stride sits on the second convolution and the shortcut takes the input before activation.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class MelikeToyBlock(nn.Module):
    """Pre-activation block; the stride sits on conv2, [B,in,H,W] -> [B,out,H/stride,W/stride]."""

    def __init__(self, inside: int, outside: int, stride: int, dropout: float) -> None:
        """Channels in and out, the stride and the dropout rate between the convolutions."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside, momentum=0.9)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(outside, momentum=0.9)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride=stride, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut.append(nn.Conv2d(inside, outside, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """The residual plus the shortcut of the raw input."""
        h = self.dropout(self.conv1(F.relu(self.bn1(x))))
        out: Tensor = self.conv2(F.relu(self.bn2(h))) + self.shortcut(x)
        return out


class MelikeToyWideResNet(nn.Module):
    """Logits of normalised images, [B,channels,H,W] -> [B,classes]."""

    def __init__(
        self,
        depth: int = 28,
        widen: int = 10,
        classes: int = 10,
        channels: int = 3,
        dropout: float = 0.3,
    ) -> None:
        """`depth` = 6n + 4 layers, widths 16, 32, 64 times `widen`."""
        super().__init__()
        count = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1)

        def group(inside: int, outside: int, stride: int) -> nn.Sequential:
            first = MelikeToyBlock(inside, outside, stride, dropout)
            rest = (MelikeToyBlock(outside, outside, 1, dropout) for _ in range(count - 1))
            return nn.Sequential(first, *rest)

        self.layer1 = group(widths[0], widths[1], 1)
        self.layer2 = group(widths[1], widths[2], 2)
        self.layer3 = group(widths[2], widths[3], 2)
        self.bn1 = nn.BatchNorm2d(widths[3], momentum=0.9)
        self.linear = nn.Linear(widths[3], classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of `conv1` and of every block (`layer1.0` ...), maps before any pooling."""
        taps = {"conv1": self.conv1(x)}
        h = taps["conv1"]
        for name in ("layer1", "layer2", "layer3"):
            for i, block in enumerate(self.get_submodule(name).children()):
                h = taps[f"{name}.{i}"] = block(h)
        return taps

    def pooled(self, x: Tensor) -> Tensor:
        """Features before the linear layer, [B,64*widen]."""
        h = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return F.relu(self.bn1(h)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.linear(self.pooled(x))
        return logits
