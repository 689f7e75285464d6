"""The natural classifiers of CIFAR beside the WRN-28-10 that ADP and ScoreOpt stand on."""

from __future__ import annotations

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.spec import Settings

CIFAR = ("cifar10", "cifar100")
WRN34 = ("conv1", "block1.4", "block2.4", "block3.4")
WRN70 = ("conv1", "block1.10", "block2.10", "block3.10")


def _fits(settings: Settings, dataset: str) -> None:
    del settings
    if dataset not in ("", *CIFAR):  # where nobody has named one yet
        raise BenchError(f"wrn34 and wrn70 are for {', '.join(CIFAR)}; on {dataset} use natural")


@classifier(
    "wrn34",
    paper="Zagoruyko & Komodakis 2016",
    link="https://arxiv.org/abs/1605.07146",
    weights=lambda settings: ("wrn34",),
    fits=_fits,
    taps=lambda dataset: WRN34 if dataset in CIFAR else (),
)
def wrn34(context: Context) -> nn.Module:
    """WideResNet-34-10 trained on clean images: the natural classifier of AID-Purifier."""
    return rebuild(context.weights("wrn34"))


@classifier(
    "wrn70",
    paper="Zagoruyko & Komodakis 2016",
    link="https://arxiv.org/abs/1605.07146",
    weights=lambda settings: ("wrn70",),
    fits=_fits,
    taps=lambda dataset: WRN70 if dataset in CIFAR else (),
)
def wrn70(context: Context) -> nn.Module:
    """WideResNet-70-16 trained on clean images with dropout: the large one of DiffPure."""
    return rebuild(context.weights("wrn70"))
