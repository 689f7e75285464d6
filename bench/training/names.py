"""Which weights can be trained on which data set: their names, without torch.

`bench.training.recipes` has a recipe for each; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import api
from bench.api import OWNER
from bench.api.images import DatasetInfo
from bench.api.neighbours import SHIPPED
from bench.api.training import TRAINED
from bench.errors import BenchError, unknown
from bench.plan.request import check_defense, find_info
from bench.spec import NO_PURIFIER, parse_defense, split_list

SIZED = ("patches", "digits")
"""Data sets that have networks of their own, all of `EMBEDDED`."""
EMBEDDED = (
    *("natural", "augmix", "madry", "trades", "lee", "twin", "cnn"),
    *("score", "score-ncsnv2", "score-dct", "score-augmix", "noisy"),
    *("edm", "edm-ddpmpp", "ebm", "ebm-igebm", "pixelcnn"),
)
ANYWHERE = ("natural", "madry", "trades", "twin", "cnn", "score")
"""What can be trained on embedded data that nothing else is known of."""
COMPACT = (
    *("natural", "augmix", "madry", "trades", "lee", "twin", "cnn", "noisy"),
    *("score", "score-dct", "score-augmix", "edm", "ebm"),
)
"""Of data that shares its images with another set."""
PRINTED = ("cifar10", "cifar100", "svhn", "tinyimagenet", "mnist", "fashionmnist")
"""Data sets that are fetched and that papers train networks on: those of `FULL` that fit."""
CIFAR = ("cifar10", "cifar100")
RESNETS = tuple(
    f"resnet{depth}-{training}"
    for depth in (18, 56, 62)
    for training in (
        *("natural", "madry", "trades"),
        *("completed-0.4-0.6", "completed-0.6-0.8", "completed-0.8-1.0"),
    )
)
OTHERS = ("wrn34", "wrn70", "augmix", *RESNETS)
"""On CIFAR, where papers stand on other classifiers than `natural` and `madry`."""
FULL = (
    *("natural", "wrn34", "wrn70", "augmix"),
    *("madry", "trades", "lee", "twin", "vgg", "cnn", "noisy"),
    *("score-ncsnv2", "score-dct", "score-augmix"),
    *("edm-ddpmpp", "ebm", "ebm-igebm", "pixelcnn"),
    *RESNETS,
)
CALLED = {"score": "score-ncsnv2", "edm": "edm-ddpmpp"}
"""What the compact networks of the embedded data are called, and the paper's in their place."""
ADD_ONS = ("aid-{classifier}", "aid-code-{classifier}")
"""Weights that belong to a classifier, under the names that defenses give them.

Not those that a paper only compares with.
"""


NOTHING = "nothing to train: name a defense (adp, aid@madry), weights or 'all'"


def names(info: DatasetInfo) -> list[str]:
    """The weights that can be trained on a data set, without those that belong to a classifier.

    Our defenses' own are among them where a classifier can be trained that they stand before.
    """
    shipped = _shipped(info)
    ours = [name for name, make in TRAINED.items() if make.__module__.startswith(SHIPPED)]
    return [*shipped, *(name for name in TRAINED if shipped or name not in ours)]


def _shipped(info: DatasetInfo) -> list[str]:
    if info.name in SIZED:
        return list(EMBEDDED)
    if info.images_of:
        return list(COMPACT)
    return list(ANYWHERE) if info.embedded else _printed(info)


def _printed(info: DatasetInfo) -> list[str]:
    """The papers' networks that make sense for the images of a data set."""
    if info.name not in PRINTED:
        return []
    side = info.shape[1]
    without = {"cnn"} if side >= 32 else {"vgg"}
    if info.name not in CIFAR:
        without |= {*OTHERS}
    if side & (side - 1):
        without |= {"ebm", "ebm-igebm"}
    return [name for name in FULL if name not in without]


def recipe_name(name: str, dataset: str) -> str:
    """What `bench train score` means: on fetched data, the paper's network of that family."""
    return CALLED.get(name, name) if dataset in PRINTED else name


def require(specs: Sequence[str], dataset: str) -> None:
    """Refuse a spec that names no weights and no defense, and settings that do not exist.

    Raises:
        BenchError: such a spec, or an unknown data set.
    """
    known = names(find_info(dataset))
    families = tuple(name.removesuffix(f"-{OWNER}") for name in ADD_ONS)
    asked = split_list(specs)
    if not asked:
        raise BenchError(NOTHING)
    for text in asked:
        family, at, classifier = text.partition("@")
        if text == "all" or recipe_name(text, dataset) in known:
            continue
        if not family.startswith(families):
            require_defense(text, dataset)
        elif at:
            part = parse_defense(f"{NO_PURIFIER}@{classifier}").classifier
            api.find_classifier(part.name).chosen(part, dataset)


def require_defense(text: str, dataset: str) -> None:
    """Refuse what is no defense of known parts, or has a setting that they do not have."""
    known, defenses = names(find_info(dataset)), api.names("defense")
    for name in (part.name for part in parse_defense(text).parts if part.name not in defenses):
        if recipe_name(name, dataset) in known:
            raise BenchError(
                f"'{text}': '{name}' is the name of weights, which take neither settings nor a "
                f"classifier; train them: bench train {name}"
            )
        raise unknown("defense or weights", name, [*defenses, *known])
    check_defense(text, dataset)
