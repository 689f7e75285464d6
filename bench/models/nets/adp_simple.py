"""The 28x28 classifiers of Yoon et al. 2021 (supplement, Fig. 6): two layers of 5x5, or an MLP."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SimpleConv(nn.Module):
    """Two 5x5 convolutions with 2x2 maxima, then two linear layers; raw [B,1,28,28] to logits."""

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28) -> None:
        """`size`: side of the images, a multiple of 4."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * (size // 4) ** 2, 1024)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,size,size] in [0,1] -> [B,classes]."""
        h = F.max_pool2d(F.relu(self.conv1(x)), 2)
        h = F.max_pool2d(F.relu(self.conv2(h)), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(h.flatten(1))))
        return logits


class SimpleMLP(nn.Module):
    """Three linear layers; raw [B,1,28,28] to logits."""

    def __init__(self, classes: int = 10, pixels: int = 784) -> None:
        """`pixels`: numbers in an image."""
        super().__init__()
        self.fc1 = nn.Linear(pixels, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B,...] in [0,1] -> [B,classes]."""
        h = F.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(F.relu(self.fc2(h)))
        return logits
