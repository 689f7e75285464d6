"""The ImageNet classifiers of torchvision, from the files that it publishes."""

from __future__ import annotations

from typing import Literal

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.spec import Settings


def _photographs(settings: Settings, dataset: str) -> None:
    del settings
    if dataset not in ("", "imagenet"):
        raise BenchError(f"torchvision's classifiers are for imagenet, not for {dataset}")


@classifier(
    "torchvision",
    paper="He et al. 2016",
    link="https://arxiv.org/abs/1512.03385",
    weights=lambda settings: (f"torchvision-{settings['network']}",),
    fits=_photographs,
)
def of_torchvision(
    context: Context, *, network: Literal["resnet50", "resnet152", "wide_resnet50_2"] = "resnet50"
) -> nn.Module:
    """A ResNet trained on clean photographs, from torchvision's first weights (V1) of it."""
    return rebuild(context.weights(f"torchvision-{network}"))
