"""From printed tables to what a run is asked for: every measurable cell once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.errors import BenchError
from bench.literature.sheets import FULL, Sheet, Target
from bench.plan.plan import Draft, make
from bench.plan.request import Request
from bench.results.store import Plan

Where = tuple[str, str, str, str]
"""Data set, threat, subset and preset of a request."""


def targets(sheets: Iterable[Sheet]) -> list[Target]:
    """What measures the numbers of `sheets`, each once, in the order of the print."""
    cells = (cell for sheet in sheets for cell in sheet.numbers())
    return list(dict.fromkeys(run for cell in cells for run in cell.target.runs))


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


@dataclass(frozen=True)
class Priced:
    """What filling tables takes. left_out: how many cells cannot be."""

    plans: tuple[tuple[Plan, Draft], ...]
    left_out: int

    @property
    def calls(self) -> dict[str, float]:
        """Network calls by cell (its digest), static bases included."""
        return {
            planned.cell.digest: cost.total * made.images
            for made, draft in self.plans
            for planned, cost in zip(made.cells, draft.costs, strict=True)
        }


def price(sheets: Iterable[Sheet], dataset: str = "", preset: str = "") -> Priced:
    """The plans of the runs that fill `sheets`."""
    found, left_out = requests(sheets, dataset, preset)
    return Priced(tuple(make(request) for request in found), len(left_out))


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
