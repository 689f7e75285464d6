"""ResNets of bottleneck blocks for photographs (He et al. 2016), torchvision's own class."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def bottlenecks(
    blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000
) -> nn.Module:
    """Logits of normalised images, [B,3,H,W] -> [B,classes]; ResNet-50 unless told otherwise.

    width: of the 3x3 convolutions of the first stage, 128 in WRN-50-2.
    """
    from torchvision.models.resnet import Bottleneck, ResNet

    made: nn.Module = ResNet(Bottleneck, list(blocks), num_classes=classes, width_per_group=width)
    return made
