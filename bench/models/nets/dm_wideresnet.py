"""WideResNet as DeepMind publishes it (Gowal et al. 2020), the form of RobustBench's WRN-70-16.

Its convolutions of stride 2 pad at the bottom and the right only, and its activation is Swish.
The published class normalises inside; here normalisation is a layer around it (`Normalised`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"swish": nn.SiLU, "relu": nn.ReLU}
STRIDES = (1, 2, 2)


class DMBlock(nn.Module):
    """Pre-activation block with the stride on conv_0; [B,in,H,W] -> [B,out,H/stride,W/stride]."""

    def __init__(self, inside: int, outside: int, stride: int, activation: str) -> None:
        """A changed width gets a 1x1 shortcut of the activated input."""
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inside, momentum=0.01)
        self.conv_0 = nn.Conv2d(inside, outside, 3, stride=stride, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(outside, momentum=0.01)
        self.conv_1 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.shortcut = (
            None if inside == outside else nn.Conv2d(inside, outside, 1, stride=stride, bias=False)
        )
        self.activation = ACTIVATIONS[activation]()
        self.margin = [1, 1, 1, 1] if stride == 1 else [0, 1, 0, 1]

    def forward(self, x: Tensor) -> Tensor:
        """The residual plus the raw input, or plus the shortcut of the activated one."""
        h = self.activation(self.batchnorm_0(x))
        kept = x if self.shortcut is None else self.shortcut(h)
        h = self.conv_0(F.pad(h, self.margin))
        out: Tensor = self.conv_1(self.activation(self.batchnorm_1(h))) + kept
        return out


class DMGroup(nn.Module):
    """Blocks of one width under the name `block`, the first with the stride."""

    def __init__(self, count: int, inside: int, outside: int, stride: int, activation: str) -> None:
        """`count` blocks from `inside` to `outside` channels."""
        super().__init__()
        first = DMBlock(inside, outside, stride, activation)
        rest = (DMBlock(outside, outside, 1, activation) for _ in range(count - 1))
        self.block = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inside,H,W] -> [B,outside,H/stride,W/stride]."""
        out: Tensor = self.block(x)
        return out


class DMWideResNet(nn.Module):
    """Logits of normalised images, [B,channels,H,W] -> [B,classes]."""

    def __init__(
        self,
        depth: int = 70,
        width: int = 16,
        classes: int = 10,
        channels: int = 3,
        activation: str = "swish",
    ) -> None:
        """`depth` = 6n + 4 layers, widths 16, 32, 64 times `width`; activation swish or relu."""
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation '{activation}' is not one of {', '.join(ACTIVATIONS)}")
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.init_conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.layer = nn.Sequential(
            *(
                DMGroup((depth - 4) // 6, widths[i], widths[i + 1], stride, activation)
                for i, stride in enumerate(STRIDES)
            )
        )
        self.batchnorm = nn.BatchNorm2d(widths[3], momentum=0.01)
        self.activation = ACTIVATIONS[activation]()
        self.logits = nn.Linear(widths[3], classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of `init_conv` and of every block (`layer.0.block.0` ...), before any pooling."""
        h = self.init_conv(x)
        taps = {"init_conv": h}
        for i, group in enumerate(self.layer.children()):
            assert isinstance(group, DMGroup)
            for j, block in enumerate(group.block):
                h = block(h)
                taps[f"layer.{i}.block.{j}"] = h
        return taps

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        h = self.activation(self.batchnorm(self.layer(self.init_conv(x)))).mean((2, 3))
        logits: Tensor = self.logits(h)
        return logits
