"""What is to be checked, judged by its words: nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from bench import api
from bench.errors import BenchError, unknown
from bench.plan.request import check_defense, find_info
from bench.spec import parse_defense, parse_part

KINDS = ("defense", "attack", "classifier")
"""Of plug-ins that have a contract."""


@dataclass(frozen=True)
class Check:
    """One line of the contract: what was checked, whether it holds, what was seen."""

    name: str
    ok: bool
    detail: str


def everything() -> list[str]:
    """The name of every plug-in that has a contract: defenses, attacks, classifiers."""
    return list(dict.fromkeys(name for kind in KINDS for name in api.names(kind)))


def kinds(name: str) -> list[str]:
    """The kinds of plug-ins of that name."""
    return [kind for kind in KINDS if name in api.names(kind, patterns=True)]


def unfit(name: str, dataset: str) -> str:
    """Why a plug-in as it stands is not for a data set; nothing where it is."""
    known = (kind for kind in KINDS if name in api.names(kind))
    reasons = (api.find(kind, name).unfit(dataset) for kind in known)
    return next(filter(None, reasons), "")


def stacked(name: str) -> bool:
    """Whether a name is of purifiers on a classifier, or of several: `aid@madry`, `adp+bits`."""
    if name.strip().startswith("file:"):
        return False
    return "@" in name or len(parse_defense(name).parts) > 1


def require(name: str, dataset: str = "digits") -> None:
    """Refuse what cannot be checked by its words alone; imports nothing heavy.

    Raises:
        BenchError: no data set or plug-in has that name, or a setting is unknown.
    """
    find_info(dataset)
    if stacked(name):
        spec = parse_defense(name)
        api.find_classifier(spec.classifier.name)
        others = {*everything()} - {*api.names("defense")}
        for part in spec.parts:
            if part.name in others:
                raise BenchError(f"'{part.name}' is no defense: it takes no classifier and no '+'")
        check_defense(name, dataset)
        return
    part = parse_part(name)
    found = kinds(part.name)
    if not found:
        raise unknown("defense, attack or classifier", part.name, everything())
    for kind in found:
        api.find(kind, part.name).chosen(part, dataset)
