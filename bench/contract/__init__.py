"""The contract that every plug-in must meet; `bench check NAME` runs it, and so do the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench import build, registry
from bench.contract.attacks import check_attack
from bench.contract.classifiers import check_classifier
from bench.contract.common import Check
from bench.contract.defenses import check_defense
from bench.errors import BenchError, unknown
from bench.spec import DefenseSpec, Part, parse_defense, parse_part

__all__ = ["Check", "check", "everything", "unfit"]

KINDS: dict[str, Callable[[Part, registry.Context], list[Check]]] = {
    "defense": check_defense,
    "attack": check_attack,
    "classifier": check_classifier,
}


def everything() -> list[str]:
    """The name of every plug-in that has a contract: defenses, attacks, classifiers."""
    return list(dict.fromkeys(name for kind in KINDS for name in registry.names(kind)))


def unfit(name: str, dataset: str) -> str:
    """Why a plug-in as it stands is not for a data set; nothing where it is."""
    kinds = (kind for kind in KINDS if name in registry.names(kind))
    reasons = (registry.find(kind, name).unfit(dataset) for kind in kinds)
    return next(filter(None, reasons), "")


def check(
    name: str, dataset: str = "digits", weights_override: Mapping[str, str] | None = None
) -> list[Check]:
    """Run the contract on a defense, an attack or a classifier, such as `adp:sigma=0`.

    Of `a+b@classifier` every purifier is checked, with that classifier behind it.
    weights_override: as in `bench.build.context`.

    Raises:
        BenchError: no plug-in has that name, a setting is unknown, or an add-on cannot stand on
            the classifier.
    """
    context = build.context(dataset, weights_override=weights_override)
    spec = parse_defense(name) if not name.strip().startswith("file:") else None
    if spec is not None and ("@" in name or len(spec.parts) > 1):
        return _on_classifier(spec, context)
    part = parse_part(name)
    found = [kind for kind in KINDS if part.name in registry.names(kind, patterns=True)]
    if not found:
        raise unknown("defense, attack or classifier", part.name, everything())
    return [result for kind in found for result in KINDS[kind](part, context)]


def _on_classifier(spec: DefenseSpec, context: registry.Context) -> list[Check]:
    classifier = registry.find_classifier(spec.classifier.name)
    context = build.behind(spec.classifier, context)
    others = {*everything()} - {*registry.names("defense")}
    for part in spec.parts:
        if part.name in others:
            raise BenchError(f"'{part.name}' is no defense: it takes no classifier and no '+'")
        plugin = registry.find_defense(part.name)
        settings = dict(plugin.resolve(part, context.dataset).settings)
        if reason := plugin.misfit(settings, classifier, build.dataset(context.dataset).info):
            raise BenchError(f"{part}@{spec.classifier}: {reason}")
    return [result for part in spec.parts for result in check_defense(part, context)]
