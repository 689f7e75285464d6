"""Classifiers from elsewhere: any file, any model of RobustBench."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from bench.api import Context, classifier
from bench.api.code import code_of_module
from bench.errors import BenchError, unknown
from bench.models.foreign import layouts, own_class, untold
from bench.models.zoo import robustbench
from bench.models.zoo.networks import of_class, rebuild
from bench.models.zoo.weights import FILE, ROBUSTBENCH
from bench.spec import Settings

ACTIVATION = "activation="


class Spelled(NamedTuple):
    """What a name says of a file: `PATH#module:Class,NAME` or `PATH#NAME,activation=NAME`."""

    path: str
    own: str = ""
    normalisation: str = ""
    activation: str = ""


def _told(settings: Settings) -> Spelled:
    """A name in its parts; those of normalisations and activations hold neither dot nor slash."""
    text = str(settings["path"])
    path, mark, told = text.rpartition("#")
    first, _, second = told.partition(",")
    if mark and own_class.NAME.fullmatch(first):
        return Spelled(path, first, second)
    if not mark or {".", "/"} & set(told):
        return Spelled(text)
    if first.startswith(ACTIVATION):
        first, second = second, first
    return Spelled(path, "", first, second.removeprefix(ACTIVATION))


def _code(settings: Settings) -> dict[str, str]:
    """The code of the class that a name says; it is imported for that."""
    own = _told(settings).own
    if not own:
        return {}
    return {own: code_of_module(own_class.imported(own.partition(":")[0]).__name__)}


def _file_fits(settings: Settings, dataset: str) -> None:
    _, _, normalisation, activation = _told(settings)
    if normalisation and normalisation not in layouts.NORMALISATIONS:
        raise BenchError(
            f"file: '#{normalisation}' is no normalisation "
            f"(one of: {', '.join(layouts.NORMALISATIONS)}; activation=relu may follow a comma), "
            "and no class (#mynet:Net)"
        )
    if activation and activation not in untold.CHOICES:
        raise unknown("activation", activation, untold.CHOICES)


@classifier(
    "file",
    pattern="file:PATH[#MODULE:CLASS or #NORMALISATION][,activation=NAME]",
    fits=_file_fits,
    weights=lambda settings: (FILE + _told(settings).path,),
    code=_code,
)
def file(context: Context, *, path: str = "") -> nn.Module:
    """Any file: written by `bench train`, or published: a state dict or a pickled network.

    Files of `bench train` say how they are normalised. Another may be followed by `#` and a name
    (`file:wrn.pt#cifar10`, `#none`, `#activation=relu`, `#cifar10,activation=relu`); without it, it
    is what the layout's publisher uses, and a board says that an activation was assumed. A network
    of another layout has its class after `#` (`file:net.pt#mynet:Net`, `#mynet:Net,cifar10`).
    """
    told = _told({"path": path})
    weights = context.weights(FILE + told.path)
    if told.own:
        return of_class(weights, told.own, told.normalisation)
    return rebuild(weights, told.normalisation, told.activation)


@classifier(
    "robustbench",
    source="Croce et al. 2021, RobustBench",
    paper="Croce et al. 2021",
    link="https://arxiv.org/abs/2010.09670",
    pattern="robustbench/[l2/ or corruptions/]NAME",
    fits=lambda settings, dataset: robustbench.check(str(settings["model"]), dataset),
    weights=lambda settings: (f"{ROBUSTBENCH}{settings['model']}",),
)
def of_robustbench(context: Context, *, model: str = "") -> nn.Module:
    """Any model of RobustBench, linf unless its name says more; its file has to lie here."""
    weights = context.weights(f"{ROBUSTBENCH}{model}")
    return robustbench.classifier(model, context.dataset, weights)
