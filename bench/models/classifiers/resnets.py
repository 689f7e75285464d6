"""Somebody else's small classifier, whose file everybody can get."""

from __future__ import annotations

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.spec import Settings


def _published(settings: Settings, dataset: str) -> None:
    del settings
    if dataset not in ("", "cifar10"):  # where nobody has named one yet
        raise BenchError("resnet20 is a published file for cifar10")


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
