"""Networks of SOAP (Shi et al. 2021) in their published layouts: a classifier and a second head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Two convolutions, normalised, and what went in added before the last ReLU."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut.append(nn.Conv2d(inside, outside, 1, stride))
            self.shortcut.append(nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class SoapResNet(nn.Module):
    """Logits [B,classes] of standardised images: three stages of `blocks` post-activation blocks.

    For 32x32 images, of which the last stage leaves 8x8; the average pooling adapts.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 2,
    ) -> None:
        """`widths` of the stages; each but the first halves the image."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = (widths[0], *widths)
        for i, width in enumerate(widths):
            first = _Block(before[i], width, 2 if i else 1)
            rest = (_Block(width, width, 1) for _ in range(blocks - 1))
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
        self.stages = len(widths)
        self.linear = nn.Linear(widths[-1], classes)

    def pooled(self, x: Tensor) -> Tensor:
        """The last map's mean over the image, [B,width]."""
        h = F.relu(self.bn1(self.conv1(x)))
        for i in range(self.stages):
            h = getattr(self, f"layer{i + 1}")(h)
        return h.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.linear(self.pooled(x))
        return logits


class SoapRotation(nn.Module):
    """The same with a second head, which tells by how much an image was turned."""

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 2,
    ) -> None:
        """As `SoapResNet`."""
        super().__init__()
        self.resnet = SoapResNet(classes, channels, widths, blocks)
        self.fc1 = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.resnet(x)
        return logits

    def auxiliary(self, x: Tensor) -> Tensor:
        """Logits [B,4] of turns by 0, 90 (clockwise), 180, 270 degrees."""
        logits: Tensor = self.fc1(self.resnet.pooled(x))
        return logits


class SoapAutoEncoder(nn.Module):
    """Logits [B,classes] of 28x28 images in [0,1] from a code, of which a decoder makes them again.

    Its training adds noise to images; a frozen one does not.
    """

    def __init__(self, classes: int = 10, channels: int = 1, hidden: int = 1024) -> None:
        """`hidden`: numbers in the code."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, 2, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 2, 1)
        self.fc1 = nn.Linear(64 * 49, hidden)
        self.cls = nn.Linear(hidden, classes)
        self.fc2 = nn.Linear(hidden, 64 * 49)
        self.conv3 = nn.ConvTranspose2d(64, 32, 3, 2, 1, 1)
        self.conv4 = nn.ConvTranspose2d(32, channels, 3, 2, 1, 1)

    def _code(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.fc1(h.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] -> [B,classes]."""
        logits: Tensor = self.cls(self._code(x))
        return logits

    def auxiliary(self, x: Tensor) -> Tensor:
        """The images again, [B,C,28,28] in [0,1]."""
        h = F.relu(self.fc2(self._code(x))).view(-1, 64, 7, 7)
        image: Tensor = self.conv4(F.relu(self.conv3(h))).sigmoid()
        return image
