"""From what a user names to the weights that have to be trained for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench import registry
from bench.errors import BenchError, unknown
from bench.spec import parse_defense, split_list
from bench.training.recipes import RECIPES
from bench.zoo.weights import SUFFIX, find


def needed(specs: Iterable[str], dataset: str) -> list[str]:
    """Names of the weights behind `specs` on a data set, each once, in the order of need.

    A spec is the name of weights (`score`), `all`, or a defense (`adp`, `none@madry`), for which
    its plug-ins and its classifier say what they need. Raises BenchError for anything else.
    """
    found: list[str] = []
    for text in split_list(specs):
        if text == "all":
            found += RECIPES
        elif text in RECIPES:
            found.append(text)
        else:
            found += _of_defense(text, dataset)
    return list(dict.fromkeys(found))


def _of_defense(text: str, dataset: str) -> list[str]:
    spec = parse_defense(text)
    first = spec.parts[0].name
    if first not in registry.names("defense"):
        raise unknown("defense or weights", first, [*registry.names("defense"), *RECIPES])
    pairs = [(registry.find_defense(part.name), part) for part in spec.parts]
    chosen = (registry.find_classifier(spec.classifier.name), spec.classifier)
    return [
        name
        for plugin, part in (*pairs, chosen)
        for name in plugin.weights(dict(plugin.resolve(part, dataset).settings))
    ]


def exists(name: str, dataset: str, folder: Path | None) -> bool:
    """Whether those weights are whole in `folder`, or wherever `find` looks without one."""
    try:
        if folder is not None:
            find(dataset, name, folder / f"{name}{SUFFIX}")
        else:
            find(dataset, name)
    except BenchError:
        return False
    return True
