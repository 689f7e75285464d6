"""VGG with batch normalisation (Simonyan & Zisserman 2015) under torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

# Convolutions per resolution (Simonyan & Zisserman 2015, Table 1: columns A, B, D, E).
STAGES: Mapping[int, Sequence[int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class Stages(nn.Sequential):
    """Layers in order; what they give is the map behind every 2x2 maximum, by name."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B,channels,H,W] -> `stage1` [B,C,H/2,W/2] ... `stage5`."""
        maps: dict[str, Tensor] = {}
        for layer in self:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps[f"stage{len(maps) + 1}"] = x
        return maps


class VGG(nn.Module):
    """Logits of normalised images, [B,channels,H,W] with H, W >= 32 -> [B,classes]."""

    def __init__(
        self,
        depth: int = 19,
        classes: int = 10,
        channels: int = 3,
        *,
        width: int = 64,
        hidden: int = 0,
        pool: int = 1,
    ) -> None:
        """Widths 1, 2, 4, 8, 8 times `width`, each stage ending with a 2x2 maximum.

        The maps are averaged to `pool` x `pool`. `hidden` 0 is one linear layer, the head of the
        32x32 networks; torchvision's has two hidden layers of 4096 behind a 7x7 map.
        """
        super().__init__()
        if depth not in STAGES:
            raise ValueError(f"depth {depth} is not one of {', '.join(map(str, STAGES))}")
        layers: list[nn.Module] = []
        inside = channels
        for stage, count in enumerate(STAGES[depth]):
            outside = width * min(2**stage, 8)
            for _ in range(count):
                convolution = nn.Conv2d(inside, outside, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
                inside = outside
            layers.append(nn.MaxPool2d(2))
        self.features = Stages(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        flat = inside * pool**2
        self.classifier: nn.Module = nn.Linear(flat, classes)
        if hidden:
            self.classifier = nn.Sequential(
                *(nn.Linear(flat, hidden), nn.ReLU(), nn.Dropout()),
                *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
                nn.Linear(hidden, classes),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        last = self.features(x)["stage5"]
        logits: Tensor = self.classifier(self.avgpool(last).flatten(1))
        return logits
