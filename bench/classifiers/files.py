"""Classifiers from elsewhere: any file, any model of RobustBench."""

from __future__ import annotations

from torch import nn

from bench.errors import BenchError
from bench.registry import Context, classifier
from bench.spec import Settings
from bench.zoo import layouts, robustbench
from bench.zoo.networks import rebuild
from bench.zoo.weights import FILE, ROBUSTBENCH


def _path(settings: Settings) -> tuple[str, str]:
    """`PATH#NAME` as path and normalisation; a name holds neither dot nor slash."""
    text = str(settings["path"])
    path, mark, name = text.rpartition("#")
    return (path, name) if mark and not {".", "/"} & set(name) else (text, "")


def _file_fits(settings: Settings, dataset: str) -> None:
    normalisation = _path(settings)[1]
    if normalisation and normalisation not in layouts.NORMALISATIONS:
        raise BenchError(
            f"file: '#{normalisation}' is no normalisation "
            f"(one of: {', '.join(layouts.NORMALISATIONS)})"
        )


@classifier(
    "file",
    pattern="file:PATH[#NORMALISATION]",
    fits=_file_fits,
    weights=lambda settings: (FILE + _path(settings)[0],),
)
def file(context: Context, *, path: str = "") -> nn.Module:
    """Any file: written by `bench train`, or published: a state dict or a pickled network.

    Files of `bench train` say how they are normalised. Another may be followed by `#` and a name
    (`file:wrn.pt#cifar10`, `#none`); without it, it is what the layout's publisher uses.
    """
    path, normalisation = _path({"path": path})
    weights = context.weights(FILE + path)
    return rebuild(weights, normalisation)


@classifier(
    "robustbench",
    source="Croce et al. 2021, RobustBench",
    pattern="robustbench/NAME",
    fits=lambda settings, dataset: robustbench.check(str(settings["model"]), dataset),
    weights=lambda settings: (f"{ROBUSTBENCH}{settings['model']}",),
)
def of_robustbench(context: Context, *, model: str = "") -> nn.Module:
    """Any linf model of RobustBench, through its package; its file has to lie here."""
    weights = context.weights(f"{ROBUSTBENCH}{model}")
    return robustbench.classifier(model, context.dataset, weights)
