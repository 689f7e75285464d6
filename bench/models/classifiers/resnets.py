"""ResNets for small images: a file that everybody can get, and those that older tables stand on."""

from __future__ import annotations

from typing import Literal

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.spec import Settings

CIFAR = ("cifar10", "cifar100")
Training = Literal[
    "natural", "madry", "trades", "completed-0.4-0.6", "completed-0.6-0.8", "completed-0.8-1.0"
]


def _published(settings: Settings, dataset: str) -> None:
    del settings
    if dataset not in ("", "cifar10"):  # where nobody has named one yet
        raise BenchError("resnet20 and cohen are published files for cifar10")


@classifier(
    "resnet20",
    source="He et al. 2016; the file of akamaster/pytorch_resnet_cifar10",
    paper="He et al. 2016",
    link="https://arxiv.org/abs/1512.03385",
    weights=lambda settings: ("resnet20",),
    fits=_published,
    taps=lambda dataset: ("conv1", "layer1.2", "layer2.2", "layer3.2"),
)
def resnet20(context: Context) -> nn.Module:
    """ResNet-20 trained on clean images by somebody else; 91.73 % of CIFAR-10 are right."""
    return rebuild(context.weights("resnet20"))


def _small(settings: Settings, dataset: str) -> None:
    del settings
    if dataset not in ("", *CIFAR):
        raise BenchError(f"resnet is for {', '.join(CIFAR)}")


@classifier(
    "resnet",
    paper="He et al. 2016",
    link="https://arxiv.org/abs/1512.03385",
    weights=lambda settings: (f"resnet{settings['depth']}-{settings['training']}",),
    fits=_small,
)
def resnet(
    context: Context, *, depth: Literal["18", "56", "62"] = "18", training: Training = "natural"
) -> nn.Module:
    """A ResNet for images of 32 pixels, trained naturally or adversarially: of ADP's tables.

    training=completed-0.8-1.0: on images that ME-Net completes from that share of their pixels.
    """
    return rebuild(context.weights(f"resnet{depth}-{training}"))


@classifier(
    "cohen",
    source="Cohen et al. 2019; the files of locuslab/smoothing",
    paper="Cohen et al. 2019",
    link="https://arxiv.org/abs/1902.02918",
    weights=lambda settings: (f"cohen-{settings['sigma']}",),
    fits=_published,
)
def cohen(
    context: Context, *, sigma: Literal["0.12", "0.25", "0.50", "1.00"] = "0.25"
) -> nn.Module:
    """ResNet-110 trained on images with Gaussian noise, as published: a base of `smoothing`."""
    return rebuild(context.weights(f"cohen-{sigma}"))
