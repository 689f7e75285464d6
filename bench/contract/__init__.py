"""The contract that every plug-in must meet; `bench check NAME` runs it, and so do the tests."""

from __future__ import annotations

from collections.abc import Callable

from bench import build, registry
from bench.contract.attacks import check_attack
from bench.contract.classifiers import check_classifier
from bench.contract.common import Check
from bench.contract.defenses import check_defense
from bench.errors import unknown
from bench.spec import Part, parse_part

__all__ = ["Check", "check"]


def check(name: str, dataset: str = "digits") -> list[Check]:
    """Run the contract on a defense, an attack or a classifier, such as `adp:sigma=0`.

    Raises:
        BenchError: no plug-in has that name, or a setting is unknown.
    """
    part, context = parse_part(name), build.context(dataset)
    kinds: dict[str, Callable[[Part, registry.Context], list[Check]]] = {
        "defense": check_defense,
        "attack": check_attack,
        "classifier": check_classifier,
    }
    found = [kind for kind in kinds if part.name in registry.names(kind, patterns=True)]
    if not found:
        everything = [known for kind in kinds for known in registry.names(kind)]
        raise unknown("defense, attack or classifier", part.name, everything)
    return [result for kind in found for result in kinds[kind](part, context)]
