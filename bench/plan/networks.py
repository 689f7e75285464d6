"""Which networks a run takes where nobody said it: the papers', or compact ones that are shipped.

The papers' networks of a fetched data set have to be got first. Whoever has none of those that a
run needs gets the compact ones, which are another data set by name: `cifar10-compact` in place of
`cifar10`. So every cell, record and board says whose networks they were, and no number of theirs
can stand for the papers'. Whoever has some of them has chosen the papers' side, and is told what is
missing.
"""

from __future__ import annotations

from dataclasses import replace

from bench import api
from bench.api import owned
from bench.errors import BenchError
from bench.models.zoo.weights import FILE, ROBUSTBENCH, here
from bench.plan.plan import make
from bench.plan.request import Request
from bench.spec import parse_defense


def chosen(request: Request) -> tuple[Request, str]:
    """The request on the data set whose networks are here; a line about it where that is another.

    Raises:
        BenchError: as `make`.
    """
    compact = api.compact(request.dataset)
    if not compact or request.weights:
        return request, ""
    named = needed(request)
    if not named or any(here(request.dataset, name) for name in named):
        return request, ""
    moved = replace(request, dataset=compact)
    try:
        there = all(here(compact, name) for name in needed(moved))
    except BenchError:  # a choice that only the papers' networks have
        return request, ""
    return (moved, _line(request.dataset, compact)) if there else (request, "")


def needed(request: Request) -> set[str]:
    """The weights of all defenses of a request, but for files and models that are named by path."""
    made, _ = make(request)
    found: set[str] = set()
    for text in {planned.cell.defense for planned in made.cells}:
        spec = parse_defense(text)
        plugins = [(api.find_defense(part.name), part) for part in spec.parts]
        for plugin, part in (
            *plugins,
            (api.find_classifier(spec.classifier.name), spec.classifier),
        ):
            names = plugin.weights(dict(plugin.resolve(part, made.dataset).settings))
            found.update(owned(name, spec.classifier) for name in names)
    return {name for name in found if not name.startswith((FILE, ROBUSTBENCH))}


def _line(asked: str, compact: str) -> str:
    return (
        f"no weights of the papers' networks for {asked} here: this measures the compact ones that "
        f"are shipped, as data set {compact}"
    )
