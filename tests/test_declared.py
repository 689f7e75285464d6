"""What the core declares stays as it is until somebody means to change it.

Boards name cells by resolved settings, budgets and costs are counted from what is declared, and the
constants of the methods are their papers'. The lines of tests/golden/declared.txt are made by
`python -m tests.test_declared`; what is not in it (another plug-in) is not asked.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType

import pytest

import attacks
import bench.flags
import defenses
from bench import evaluate, metrics, registry, rng, stats, threat
from bench.defense import Traits
from bench.errors import BenchError
from bench.registry import PRESETS
from bench.spec import Value, parse_part
from tests.reference import GOLDEN

FILE = GOLDEN / "declared.txt"
DATASETS = ("patches", "digits", "cifar10", "svhn", "imagenet")
KINDS = {
    "random": Traits(True, True, True, True, True, 3),
    "plain": Traits(exact=False),
    "bare": Traits(identity=True),
}


def modules() -> Iterator[ModuleType]:
    """Those whose numbers make a verdict."""
    yield from (evaluate, metrics, rng, stats, threat)
    for package in (attacks, defenses, bench.flags):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def own_classes(module: ModuleType) -> Iterator[type]:
    """The dataclasses that a module makes."""
    for each in vars(module).values():
        if isinstance(each, type) and is_dataclass(each) and each.__module__ == module.__name__:
            yield each


def numeric(value: object) -> bool:
    """Whether there are numbers or yes and no in it."""
    if isinstance(value, dict):
        return any(numeric(part) for part in value.values())
    return isinstance(value, int | float) or (isinstance(value, tuple) and any(map(numeric, value)))


def values(module: ModuleType) -> Iterator[str]:
    """Constants and defaults, one line each; without the folder, which may change."""
    short = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if name.strip("_").isupper() and numeric(value):
            yield f"value {short}.{name} {value}"
    for each in own_classes(module):
        for field in fields(each):
            if field.default is not MISSING and numeric(field.default):
                yield f"value {short}.{each.__name__}.{field.name} {field.default}"


def lines(kind: str, name: str) -> list[str]:
    """What a plug-in declares, one line for each settings that it has somewhere."""
    plugin = registry.find(kind, name)
    found: dict[str, list[str]] = {}
    for dataset in DATASETS:
        for preset in PRESETS:
            place = f"{preset}@{dataset}"
            try:
                part = plugin.resolve(parse_part(name), dataset, preset)
            except BenchError as error:
                found.setdefault(f"refused: {error}", []).append(place)
                continue
            told = "; ".join(_told(kind, name, dict(part.settings)))
            found.setdefault(f"{part}; {told}", []).append(place)
    return [f"{kind} {name} {' '.join(places)}: {text}" for text, places in found.items()]


def _told(kind: str, name: str, settings: dict[str, Value]) -> Iterator[str]:
    if kind == "attack":
        attack = registry.find_attack(name)
        yield f"{attack.facts(settings).told()}"
        yield f"{attack.norms} {attack.within(settings, 'linf:0.1')} {attack.variants(settings)}"
        for each, traits in KINDS.items():
            runs = {k: v for k, v in vars(attack.cost(settings, traits)).items() if v}
            yield f"{each} {attack.skip(settings, traits) or runs}"
        return
    defense = registry.find_defense(name)
    yield f"{defense.traits(settings)}"
    for calls in (defense.calls, defense.gradient, defense.direction_calls):
        yield f"{dict(calls(settings))}"
    yield f"{dict(defense.surrogate_calls(settings))}"


def declared() -> Iterator[str]:
    """Every line, of packaged plug-ins only."""
    for kind in ("attack", "defense"):
        for name in registry.names(kind):
            yield from lines(kind, name)
    for module in modules():
        yield from values(module)


STORED = FILE.read_text("utf-8").splitlines() if FILE.is_file() else []
NAMES = sorted({(kind, name) for kind, name, _ in (line.split(" ", 2) for line in STORED)})
PARAMETERS = "__dataclass_params__"
MEANT = "if you meant it: python -m tests.test_declared"


@pytest.mark.parametrize(("kind", "name"), [pair for pair in NAMES if pair[0] != "value"])
def test_what_is_declared_stays(kind: str, name: str) -> None:
    kept = [line for line in STORED if line.split(" ")[:2] == [kind, name]]
    assert lines(kind, name) == kept, MEANT


def test_constants_and_defaults_stay() -> None:
    kept = [line for line in STORED if line.startswith("value ")]
    found = {line for module in modules() for line in values(module)}
    assert [line for line in kept if line not in found] == [], MEANT


def test_settings_cannot_be_changed_after_they_are_logged() -> None:
    for module in modules():
        loose = [each for each in own_classes(module) if not vars(each)[PARAMETERS].frozen]
        assert loose == []


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in declared()), "utf-8")
