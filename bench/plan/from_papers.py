"""From printed tables to what a run is asked for: every measurable cell once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.errors import BenchError
from bench.literature.sheets import FULL, Sheet, Target
from bench.plan.plan import make
from bench.plan.request import Request

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


def requests(
    sheets: Iterable[Sheet], dataset: str = "", preset: str = ""
) -> tuple[list[Request], list[str]]:
    """The runs that fill `sheets`, and why what is left out cannot be on another `dataset`.

    Defenses that meet the same attacks under the same conditions are asked for together; on another
    data set they are those of its own threat and subset. Controls are none of the papers'.

    Raises:
        BenchError: a pair that cannot be on the papers' own data.
    """
    asked: dict[Where, dict[str, list[str]]] = {}
    left_out = []
    for target in targets(sheets):
        amount = preset or target.preset or FULL
        where = (target.dataset, target.threat, target.subset, amount)
        if dataset and dataset != target.dataset:
            where = (dataset, "", "", amount)
            if reason := _misfit(target, where):
                left_out.append(reason)
                continue
        attacks = asked.setdefault(where, {}).setdefault(target.defense, [])
        if target.attack not in attacks:
            attacks.append(target.attack)
    found = []
    for where, rows in asked.items():
        together: dict[tuple[str, ...], list[str]] = {}
        for defense, attacks in rows.items():
            together.setdefault(tuple(attacks), []).append(defense)
        found += [_request(rows, attacks, where) for attacks, rows in together.items()]
    return found, left_out


def price(
    sheets: Iterable[Sheet], dataset: str = "", preset: str = ""
) -> tuple[dict[str, float], int]:
    """Network calls by cell (its digest), static bases included, and how many cannot be."""
    calls: dict[str, float] = {}
    found, left_out = requests(sheets, dataset, preset)
    for request in found:
        made, draft = make(request)
        for planned, cost in zip(made.cells, draft.costs, strict=True):
            calls[planned.cell.digest] = cost.total * made.images
    return calls, len(left_out)


def _request(defenses: Sequence[str], attacks: Sequence[str], where: Where) -> Request:
    dataset, threat, subset, preset = where
    return Request(
        defenses, attacks, dataset, threat=threat, subset=subset, preset=preset, controls=[]
    )


def _misfit(target: Target, where: Where) -> str:
    """Why a data set does not have what a cell names; nothing where it has."""
    try:
        make(_request([target.defense], [target.attack], where))
    except BenchError as error:
        return str(error)
    return ""
