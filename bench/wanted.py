"""From printed tables to what a run is asked for: every measurable cell once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bench.errors import BenchError
from bench.papers import Sheet, Target
from bench.plan import Request, make
from bench.reported import FULL

Where = tuple[str, str, str, str]
"""Data set, threat, subset and preset of a request."""


def targets(sheets: Iterable[Sheet]) -> list[Target]:
    """What measures the numbers of `sheets`, each once, in the order of the print."""
    cells = (cell for sheet in sheets for cell in sheet.numbers())
    return list(
        dict.fromkeys(
            cell.target for cell in cells if cell.target.measurable and not cell.target.over
        )
    )


def requests(sheets: Iterable[Sheet], dataset: str = "", preset: str = "") -> list[Request]:
    """The runs that fill `sheets`; on another `dataset`, within its own threat and subset.

    Defenses that meet the same attacks under the same conditions are asked for together. Controls
    are none of the papers', so there are none.
    """
    asked: dict[Where, dict[str, list[str]]] = {}
    for target in targets(sheets):
        amount = preset or target.preset or FULL
        where = (target.dataset, target.threat, target.subset, amount)
        if dataset and dataset != target.dataset:
            where = (dataset, "", "", amount)
        attacks = asked.setdefault(where, {}).setdefault(target.defense, [])
        if target.attack not in attacks:
            attacks.append(target.attack)
    found = []
    for (data, threat, subset, amount), rows in asked.items():
        together: dict[tuple[str, ...], list[str]] = {}
        for defense, attacks in rows.items():
            together.setdefault(tuple(attacks), []).append(defense)
        found += [
            Request(
                defenses, attacks, data, threat=threat, subset=subset, preset=amount, controls=[]
            )
            for attacks, defenses in together.items()
        ]
    return found


def price(
    sheets: Iterable[Sheet], dataset: str = "", preset: str = ""
) -> tuple[dict[str, float], int]:
    """Network calls by cell (its digest), static bases included, and how many requests cannot be.

    What cannot be is a network or an attack that another data set than the papers' does not have.
    """
    calls: dict[str, float] = {}
    left_out = 0
    for request in requests(sheets, dataset, preset):
        for attack in request.attacks:
            for defense in request.defenses:
                try:
                    made, draft = make(replace(request, defenses=[defense], attacks=[attack]))
                except BenchError:
                    if not dataset:
                        raise
                    left_out += 1
                    continue
                for planned, cost in zip(made.cells, draft.costs, strict=True):
                    calls[planned.cell.digest] = cost.total * made.images
    return calls, left_out
