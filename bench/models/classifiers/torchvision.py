"""The ImageNet classifiers of torchvision, from the files that it publishes."""

from __future__ import annotations

import importlib
from typing import Literal

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError
from bench.models.foreign.layouts import NORMALISATIONS
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import filled
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
) -> Normalised:
    """A ResNet trained on clean photographs, from torchvision's first weights (V1) of it.

    The file is given: `--weights torchvision-resnet50=resnet50-0676ba61.pth`.
    """
    models = importlib.import_module("torchvision.models")
    made: nn.Module = getattr(models, network)(weights=None)
    layer = NORMALISATIONS["imagenet"]
    assert layer
    return Normalised(filled(made, context.weights(f"torchvision-{network}")), *layer)
