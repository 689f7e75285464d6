"""What every packaged attack and defense declares stays as it is until somebody means to change it.

Boards name cells by resolved settings, and budgets and costs are counted from what is declared. The
lines of tests/golden/declared.txt are made by `python -m tests.test_declared`; plug-ins that are
not in it are not asked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import registry
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


STORED = FILE.read_text("utf-8").splitlines() if FILE.is_file() else []
NAMES = sorted({tuple(line.split(" ")[:2]) for line in STORED})


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_what_is_declared_stays(kind: str, name: str) -> None:
    kept = [line for line in STORED if line.split(" ")[:2] == [kind, name]]
    assert lines(kind, name) == kept, "if you meant it: python -m tests.test_declared"


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in declared()), "utf-8")
