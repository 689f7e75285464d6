"""WideResNet (Zagoruyko & Komodakis 2016) with RobustBench's parameter names."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PreBlock(nn.Module):
    """Pre-activation block; the stride sits on conv1, [B,in,H,W] -> [B,out,H/stride,W/stride]."""

    def __init__(self, inside: int, outside: int, stride: int, dropout: float = 0.0) -> None:
        """Channels in and out, the stride and the dropout rate between the convolutions."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.convShortcut = (
            None if inside == outside else nn.Conv2d(inside, outside, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """A changed width sends the activated input down both paths, an equal one the raw input."""
        h = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(h)
        h = self.dropout(F.relu(self.bn2(self.conv1(h))))
        out: Tensor = self.conv2(h) + shortcut
        return out


class Group(nn.Module):
    """Blocks of one width under the name `layer`, the first with the stride."""

    def __init__(
        self, count: int, inside: int, outside: int, stride: int, dropout: float = 0.0
    ) -> None:
        """`count` blocks from `inside` to `outside` channels."""
        super().__init__()
        first = PreBlock(inside, outside, stride, dropout)
        rest = (PreBlock(outside, outside, 1, dropout) for _ in range(count - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H/stride,W/stride]."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """Logits of normalised images, [B,channels,H,W] -> [B,classes]."""

    def __init__(
        self,
        depth: int = 28,
        widen: int = 10,
        classes: int = 10,
        channels: int = 3,
        stem_stride: int = 1,
        *,
        dropout: float = 0.0,
    ) -> None:
        """`depth` = 6n + 4 layers, widths 16, 32, 64 times `widen`; dropout: while it is trained.

        `stem_stride` 2 is ours, for 16x16 images; the global average pooling adapts.
        """
        super().__init__()
        count = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(channels, 16, 3, stride=stem_stride, padding=1, bias=False)
        self.block1 = Group(count, widths[0], widths[1], 1, dropout)
        self.block2 = Group(count, widths[1], widths[2], 2, dropout)
        self.block3 = Group(count, widths[2], widths[3], 2, dropout)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of `conv1` and of every block (`block1.0` ...), maps before any pooling."""
        taps = {"conv1": self.conv1(x)}
        h = taps["conv1"]
        for name, group in (
            ("block1", self.block1),
            ("block2", self.block2),
            ("block3", self.block3),
        ):
            for i, block in enumerate(group.layer):
                h = block(h)
                taps[f"{name}.{i}"] = h
        return taps

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        h = self.block3(self.block2(self.block1(self.conv1(x))))
        h = F.relu(self.bn1(h)).mean((2, 3))
        logits: Tensor = self.fc(h)
        return logits
