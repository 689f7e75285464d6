"""Named classifiers: trained network and normalisation layer, frozen; [0,1] images to logits."""

from __future__ import annotations

from torch import nn

from bench.registry import Context, classifier
from bench.zoo.networks import rebuild


@classifier("natural", source="Zagoruyko & Komodakis 2016", weights=lambda settings: ("natural",))
def natural(context: Context) -> nn.Module:
    """WideResNet trained on clean images: the classifier behind a defense that names no other."""
    return rebuild(context.weights("natural"))


@classifier("madry", source="Madry et al. 2018", weights=lambda settings: ("madry",))
def madry(context: Context) -> nn.Module:
    """The same WideResNet trained adversarially, against linf PGD."""
    return rebuild(context.weights("madry"))


@classifier("trades", source="Zhang et al. 2019", weights=lambda settings: ("trades",))
def trades(context: Context) -> nn.Module:
    """The same WideResNet trained by TRADES with beta 6."""
    return rebuild(context.weights("trades"))


@classifier("twin", source="Zagoruyko & Komodakis 2016", weights=lambda settings: ("twin",))
def twin(context: Context) -> nn.Module:
    """`natural` from another seed: where transfer attacks of the same architecture come from."""
    return rebuild(context.weights("twin"))


@classifier("cnn", source="Simonyan & Zisserman 2015", weights=lambda settings: ("cnn",))
def cnn(context: Context) -> nn.Module:
    """A small CNN trained on clean images: where transfer attacks from elsewhere come from."""
    return rebuild(context.weights("cnn"))
