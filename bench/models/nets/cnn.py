"""A small plain convolutional network: the other architecture that transfer attacks come from."""

from __future__ import annotations

from torch import Tensor, nn


def _layer(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1), nn.BatchNorm2d(outside), nn.ReLU()
    )


class CNN(nn.Module):
    """VGG-like (Simonyan & Zisserman 2015): normalised images [B,C,H,W] to logits [B,classes]."""

    def __init__(self, width: int = 32, classes: int = 10, channels: int = 3) -> None:
        """Three resolutions of two layers, `width`, 2 and 2 times `width` wide, then a mean."""
        super().__init__()
        self.body = nn.Sequential(
            _layer(channels, width, 1),
            _layer(width, width, 2),
            _layer(width, 2 * width, 1),
            _layer(2 * width, 2 * width, 2),
            _layer(2 * width, 2 * width, 1),
        )
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.fc(self.body(x).mean((2, 3)))
        return logits
