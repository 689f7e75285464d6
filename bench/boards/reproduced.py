"""Printed tables beside what was measured: one line for each number, and the verdict on it.

A number counts as measured when a board of its data set and threat holds the defense and the attack
that its table names, complete. Larger presets are looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.boards.analysis import ON, numbers
from bench.boards.board import Board, Entry, mean_over
from bench.boards.gather import boards
from bench.boards.metrics import by_variant
from bench.literature.claims import (
    ACCURACY,
    CORRUPTED,
    PROTOCOL,
    Claim,
    Key,
    beside,
    differences,
    fewer,
    key,
    remarks,
    reported,
)
from bench.literature.sheets import PrintedCell, Sheet
from bench.results.archive import Results
from bench.stats import Figure, Floats, mean_interval, verdict
from bench.threat import Threat

FIELDS = (
    *("paper", "table", "row", "column", "dataset", "defense", "attack", "threat", "metric"),
    *("reported", "reported_std", "borrowed", "external", "measured", "low", "high", "n", "seeds"),
    *("verdict", "note"),
)
ANY = "any"
"""Stands for the attack of a figure over several of them."""
LOWEST = ("minimum", "minimum-of-means")
"""Metrics that are one of several cells; other metrics of several cells are their mean."""


@dataclass(frozen=True)
class Measurement:
    """What stands beside a printed number; note: of fewer images than were printed of."""

    figure: Figure
    n: int
    seeds: int
    verdict: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Filled:
    """A printed table with the measurements that there are, by (row, column)."""

    sheet: Sheet
    dataset: str
    found: Mapping[tuple[int, int], Measurement]


class Shelf:
    """The boards of every data set of some results, read once."""

    def __init__(self, source: Results) -> None:
        """Nothing is read before it is asked for."""
        self._source = source
        self._boards: dict[str, list[Board]] = {}

    def boards(self, dataset: str) -> list[Board]:
        """All boards of a data set, those of larger presets first; none where nothing was run."""
        if dataset not in self._boards:
            there = dataset in self._source.datasets()
            self._boards[dataset] = boards(self._source, dataset) if there else []
        return self._boards[dataset]


def fill(sheet: Sheet, shelf: Shelf, dataset: str = "") -> Filled:
    """The measurements of a table's cells; `dataset` lays it out on another data set's boards."""
    found: dict[tuple[int, int], Measurement] = {}
    for cell in sheet.numbers():
        measured = _measure(cell, sheet, shelf, dataset)
        if measured is not None:
            found[cell.row, cell.column] = measured
    return Filled(sheet, dataset, found)


def tidy(filled: Filled) -> list[dict[str, str]]:
    """One line for each printed number, in the print's order; unknown values are empty."""
    return [_line(filled, cell) for cell in filled.sheet.numbers()]


def _line(filled: Filled, cell: PrintedCell) -> dict[str, str]:
    sheet, target = filled.sheet, cell.target
    claim = reported(sheet, cell)
    line = dict.fromkeys(FIELDS, "")
    line |= {
        "paper": sheet.paper,
        "table": sheet.table,
        "row": str(sheet.rows[cell.row - 1]),
        "column": sheet.columns[cell.column - 1],
        "dataset": filled.dataset or target.dataset,
        "defense": target.defense,
        "attack": target.attack or "; ".join(run.attack for run in target.parts),
        "threat": target.threat,
        "metric": target.metric,
        "reported": claim.value,
        "reported_std": claim.std,
        "borrowed": "yes" if cell.borrowed else "",
        "note": "; ".join(notes_of(filled, cell)),
    }
    if (other := of_others(filled, cell)) is not None:
        line["external"] = other.text
    measured = filled.found.get((cell.row, cell.column))
    if measured is not None:
        line["note"] = "; ".join(filter(None, (line["note"], measured.note)))
        line |= {
            **numbers(measured.figure),
            "n": str(measured.n),
            "seeds": str(measured.seeds),
            "verdict": measured.verdict,
        }
    return line


def notes_of(filled: Filled, cell: PrintedCell) -> list[str]:
    """Footnotes to one cell: ours, why nothing measures it, and whose its external figure is."""
    only = f"reported only: {cell.target.only}" if cell.target.only else ""
    other = of_others(filled, cell)
    whose = f"external: {other.conditions}" if other else ""
    return [text for text in (*remarks(filled.sheet, cell), only, whose) if text]


def of_others(filled: Filled, cell: PrintedCell) -> Claim | None:
    """What others measured of the defense of a printed accuracy, the lowest; not on other data."""
    target = cell.target
    elsewhere = filled.dataset not in ("", target.dataset)
    if elsewhere or not target.defense or target.metric not in (ACCURACY, PROTOCOL, *LOWEST):
        return None
    defense, _, threat = key(target.defense, target.attack or ANY, target.threat)
    return next(iter(beside(target.dataset, defense, threat)), None)


def _measure(cell: PrintedCell, sheet: Sheet, shelf: Shelf, dataset: str) -> Measurement | None:
    target = cell.target
    if not target.measurable or cell.value is None:
        return None
    parts = [sheet.line(cell.row)[c - 1] for c in target.over]
    parts = parts or [replace(cell, target=run) for run in target.runs]
    found = [_find(part, shelf, dataset) for part in parts]
    pairs = [pair for pair in found if pair is not None]
    if len(pairs) < len(parts):
        return None
    entries = [entry for _, entry in pairs]
    shown = _figure(target.metric, entries, [part.target.metric for part in parts])
    if shown is None:
        return None
    claim = reported(sheet, cell)
    moved = [f"data set {dataset}"] if dataset and dataset != target.dataset else []
    where = [differences(claim, board.subset, board.preset) for board, _ in pairs]
    differs = dict.fromkeys((*moved, *(text for texts in where for text in texts)))
    n = min(len(entry.values) for entry in entries)
    return Measurement(
        shown,
        n,
        min(len(entry.seeds) for entry in entries),
        verdict(shown, cell.value / 100, list(differs)),
        "" if moved else fewer(n, claim),
    )


def _find(cell: PrintedCell, shelf: Shelf, dataset: str) -> tuple[Board, Entry] | None:
    """The board and entry that hold a cell's own accuracy."""
    target = cell.target
    where = key(target.defense, target.attack, target.threat)
    elsewhere = dataset not in ("", target.dataset)
    return find(shelf.boards(dataset or target.dataset), where, any_radius=elsewhere)


def find(
    among: Iterable[Board], where: Key, *, any_radius: bool = False
) -> tuple[Board, Entry] | None:
    """The first board that holds a complete measurement of an experiment, and that.

    any_radius: or of the same within another ball of that norm.
    """
    defense, attack, threat = where
    for board in among:
        for row in board.rows:
            entry = row.complete().get(attack) if row.asked == defense else None
            if entry is None:
                continue
            near = any_radius and Threat.parse(entry.threat).norm == Threat.parse(threat).norm
            if near or entry.threat == threat:
                return board, entry
    return None


def figure_of(entry: Entry, metric: str) -> Figure | None:
    """One metric of one measurement, in the words of a printed table; None where it has none."""
    return _figure(metric, [entry], [metric])


def _figure(metric: str, entries: Sequence[Entry], metrics: Sequence[str]) -> Figure | None:
    """A cell's figure from the entries that it stands for, of which `metrics` are taken."""
    values = [_values(entry, own) for entry, own in zip(entries, metrics, strict=True)]
    there = [value for value in values if value is not None]
    block, index = entries[0].block, entries[0].index
    same = all(np.array_equal(entry.index, index) for entry in entries)
    if not same or len(there) < len(values):
        return None
    if metric in LOWEST:
        return mean_interval(min(there, key=lambda value: float(value.mean())), block)
    return mean_interval(mean_over(there), block)


def _values(entry: Entry, metric: str) -> Floats | None:
    """Per-image values [N] of one metric, averaged over seeds; None where there are none."""
    seeds = list(entry.seeds.values())
    if metric in (ACCURACY, CORRUPTED):
        return entry.values
    if metric == PROTOCOL:
        verdicts = [seed.protocol for seed in seeds if seed.protocol is not None]
        whole = len(verdicts) == len(seeds)
        return mean_over(verdict.astype(float) for verdict in verdicts) if whole else None
    if metric.startswith(ON):
        groups = [by_variant(seed) for seed in seeds]
        names = metric.removeprefix(ON).split("+")
        if all(name in group for group in groups for name in names):
            return mean_over(group[name] for group in groups for name in names)
    return None
