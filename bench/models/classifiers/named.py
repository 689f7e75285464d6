"""The trained classifiers by name: network and normalisation layer, frozen."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bench.api import Context, classifier, find_dataset
from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.spec import Settings

# Where add-ons may look: the stem and the end of every group, as in the code of AID-Purifier. Which
# network stands behind a name on which data set: bench/training/recipes.
SMALL = ("conv1", "block1.0", "block2.0", "block3.0")
EARLY = ("conv1", "block1", "block2", "block3")
WRN34 = ("conv1", "block1.4", "block2.4", "block3.4")
WRN28 = ("conv1", "layer1.3", "layer2.3", "layer3.3")
ROBUST: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("patches", "digits"), SMALL),
    "cifar10-compact": EARLY,
    **dict.fromkeys(("cifar10", "cifar100", "svhn", "tinyimagenet"), WRN34),
}
NATURAL: Mapping[str, tuple[str, ...]] = {**ROBUST, **dict.fromkeys(("cifar10", "cifar100"), WRN28)}


HALVED = 32
"""Pixels: the least side of an image for `vgg`."""
LARGE = ("cifar10", "cifar100", "svhn", "tinyimagenet", "imagenet")
"""Data sets on which `vgg` is the other architecture."""


def _robust(dataset: str) -> tuple[str, ...]:
    return ROBUST.get(dataset, ())


def _natural(dataset: str) -> tuple[str, ...]:
    return NATURAL.get(dataset, ())


@classifier(
    "natural",
    paper="Zagoruyko & Komodakis 2016",
    link="https://arxiv.org/abs/1605.07146",
    weights=lambda settings: ("natural",),
    taps=_natural,
)
def natural(context: Context) -> nn.Module:
    """WideResNet trained on clean images: the classifier behind a defense that names no other."""
    return rebuild(context.weights("natural"))


@classifier(
    "augmix",
    paper="Hendrycks et al. 2020",
    link="https://arxiv.org/abs/1912.02781",
    weights=lambda settings: ("augmix",),
)
def augmix(context: Context) -> nn.Module:
    """A WideResNet trained to answer the same on augmented images, against corruptions."""
    return rebuild(context.weights("augmix"))


@classifier(
    "madry",
    paper="Madry et al. 2018",
    link="https://arxiv.org/abs/1706.06083",
    weights=lambda settings: ("madry",),
    taps=_robust,
)
def madry(context: Context) -> nn.Module:
    """The same WideResNet trained adversarially, against linf PGD."""
    return rebuild(context.weights("madry"))


@classifier(
    "trades",
    paper="Zhang et al. 2019",
    link="https://arxiv.org/abs/1901.08573",
    weights=lambda settings: ("trades",),
    taps=_robust,
)
def trades(context: Context) -> nn.Module:
    """The same WideResNet trained by TRADES with beta 6."""
    return rebuild(context.weights("trades"))


@classifier(
    "lee",
    paper="Lee et al. 2020",
    link="https://arxiv.org/abs/2003.02484",
    weights=lambda settings: ("lee",),
    taps=_robust,
)
def lee(context: Context) -> nn.Module:
    """The same WideResNet trained adversarially with AVmixup."""
    return rebuild(context.weights("lee"))


@classifier(
    "twin",
    paper="Zagoruyko & Komodakis 2016",
    link="https://arxiv.org/abs/1605.07146",
    weights=lambda settings: ("twin",),
    taps=_natural,
)
def twin(context: Context) -> nn.Module:
    """`natural` from another seed: where transfer attacks of the same architecture come from."""
    return rebuild(context.weights("twin"))


def _replaced(settings: Settings, dataset: str) -> None:
    del settings
    if dataset in LARGE:
        raise BenchError(f"cnn is the small network of small images; on {dataset} use vgg")


def _halved(settings: Settings, dataset: str) -> None:
    del settings
    info = find_dataset(dataset).info if dataset else None
    if info and min(info.shape[1:]) < HALVED:
        raise BenchError(f"vgg halves images five times, too often for {dataset}; use cnn")


@classifier(
    "cnn",
    paper="Simonyan & Zisserman 2015",
    link="https://arxiv.org/abs/1409.1556",
    weights=lambda settings: ("cnn",),
    fits=_replaced,
)
def cnn(context: Context) -> nn.Module:
    """A small CNN trained on clean images: where transfer attacks from elsewhere come from."""
    return rebuild(context.weights("cnn"))


@classifier(
    "vgg",
    paper="Simonyan & Zisserman 2015",
    link="https://arxiv.org/abs/1409.1556",
    weights=lambda settings: ("vgg",),
    fits=_halved,
)
def vgg(context: Context) -> nn.Module:
    """VGG-19 with batch norm, for images of 32 pixels and more: what `cnn` is on smaller ones."""
    return rebuild(context.weights("vgg"))


@classifier(
    "noisy",
    paper="Cohen et al. 2019",
    link="https://arxiv.org/abs/1902.02918",
    weights=lambda settings: ("noisy",),
    taps=_natural,
)
def noisy(context: Context) -> nn.Module:
    """The same WideResNet trained on images with Gaussian noise: the base of `smoothing`."""
    return rebuild(context.weights("noisy"))
