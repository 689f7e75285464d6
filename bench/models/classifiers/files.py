"""Classifiers from elsewhere: any file, any model of RobustBench."""

from __future__ import annotations

from torch import nn

from bench.api import Context, classifier
from bench.errors import BenchError, unknown
from bench.models.foreign import layouts, untold
from bench.models.zoo import robustbench
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import FILE, ROBUSTBENCH
from bench.spec import Settings

ACTIVATION = "activation="


def _path(settings: Settings) -> tuple[str, str, str]:
    """`PATH#NAME,activation=NAME` in its three parts; names hold neither dot nor slash."""
    text = str(settings["path"])
    path, mark, told = text.rpartition("#")
    if not mark or {".", "/"} & set(told):
        return text, "", ""
    first, _, second = told.partition(",")
    if first.startswith(ACTIVATION):
        first, second = second, first
    return path, first, second.removeprefix(ACTIVATION)


def _file_fits(settings: Settings, dataset: str) -> None:
    _, normalisation, activation = _path(settings)
    if normalisation and normalisation not in layouts.NORMALISATIONS:
        raise BenchError(
            f"file: '#{normalisation}' is no normalisation "
            f"(one of: {', '.join(layouts.NORMALISATIONS)}; activation=relu may follow a comma)"
        )
    if activation and activation not in untold.CHOICES:
        raise unknown("activation", activation, untold.CHOICES)


@classifier(
    "file",
    pattern="file:PATH[#NORMALISATION][,activation=NAME]",
    fits=_file_fits,
    weights=lambda settings: (FILE + _path(settings)[0],),
)
def file(context: Context, *, path: str = "") -> nn.Module:
    """Any file: written by `bench train`, or published: a state dict or a pickled network.

    Files of `bench train` say how they are normalised. Another may be followed by `#` and a name
    (`file:wrn.pt#cifar10`, `#none`, `#activation=relu`, `#cifar10,activation=relu`); without it, it
    is what the layout's publisher uses, and a board says that an activation was assumed.
    """
    path, normalisation, activation = _path({"path": path})
    weights = context.weights(FILE + path)
    return rebuild(weights, normalisation, activation)


@classifier(
    "robustbench",
    source="Croce et al. 2021, RobustBench",
    paper="Croce et al. 2021",
    link="https://arxiv.org/abs/2010.09670",
    pattern="robustbench/NAME",
    fits=lambda settings, dataset: robustbench.check(str(settings["model"]), dataset),
    weights=lambda settings: (f"{ROBUSTBENCH}{settings['model']}",),
)
def of_robustbench(context: Context, *, model: str = "") -> nn.Module:
    """Any linf model of RobustBench, through its package; its file has to lie here."""
    weights = context.weights(f"{ROBUSTBENCH}{model}")
    return robustbench.classifier(model, context.dataset, weights)
