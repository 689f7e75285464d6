"""Printed tables beside what was measured: one line for each number, and the verdict on it.

A number counts as measured when a board of its data set and threat holds the defense and the attack
that its table names, complete. Larger presets are looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis import ON, percent
from bench.archive import Source
from bench.boards import ASIDE, CLEAN, Board, Entry, boards, mean_over
from bench.metrics import by_variant
from bench.papers import FULL, Cell, Sheet
from bench.spec import number, parse_defense, parse_part
from bench.stats import Figure, Floats, mean_interval, verdict

FIELDS = (
    *("paper", "table", "row", "column", "dataset", "defense", "attack", "threat", "metric"),
    *("reported", "reported_std", "borrowed", "external", "measured", "low", "high", "n", "seeds"),
    *("verdict", "note"),
)
ACCURACY, PROTOCOL, CORRUPTED = "accuracy", "protocol", "mean-over-corruptions"
LOWEST = ("minimum", "minimum-of-means")
"""Metrics that are one of several cells; other metrics of several cells are their mean."""


@dataclass(frozen=True)
class Measurement:
    """What stands beside a printed number. differs: why the two are not comparable, if so."""

    figure: Figure
    n: int
    seeds: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Filled:
    """A printed table with the measurements that there are, by (row, column)."""

    sheet: Sheet
    dataset: str
    found: Mapping[tuple[int, int], Measurement]


class Shelf:
    """The boards of every data set of some results, read once."""

    def __init__(self, source: Source) -> None:
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


def _line(filled: Filled, cell: Cell) -> dict[str, str]:
    sheet, target = filled.sheet, cell.target
    line = dict.fromkeys(FIELDS, "")
    line |= {
        "paper": sheet.paper,
        "table": sheet.table,
        "row": str(sheet.rows[cell.row - 1]),
        "column": sheet.columns[cell.column - 1],
        "dataset": filled.dataset or target.dataset,
        "defense": target.defense,
        "attack": target.attack,
        "threat": target.threat,
        "metric": target.metric,
        "reported": cell.printed.partition("±")[0].rstrip("*"),
        "reported_std": "" if cell.std is None else cell.printed.partition("±")[2].rstrip("*"),
        "borrowed": "yes" if cell.borrowed else "",
        "note": "; ".join(notes_of(sheet, cell)),
    }
    measured = filled.found.get((cell.row, cell.column))
    if measured is not None:
        line |= {
            "measured": percent(measured.figure.value),
            "low": percent(measured.figure.low),
            "high": percent(measured.figure.high),
            "n": str(measured.n),
            "seeds": str(measured.seeds),
            "verdict": measured.verdict,
        }
    return line


def notes_of(sheet: Sheet, cell: Cell) -> list[str]:
    """Footnotes to one cell, and why nothing measures it."""
    own = [note.text for note in sheet.notes if (note.row, note.column) == (cell.row, cell.column)]
    only = f"reported only: {cell.target.only}" if cell.target.only else ""
    return [text for text in (cell.note, *own, only) if text]


def _measure(cell: Cell, sheet: Sheet, shelf: Shelf, dataset: str) -> Measurement | None:
    target = cell.target
    if not target.measurable or cell.value is None:
        return None
    parts = [sheet.line(cell.row)[c - 1] for c in target.over] if target.over else [cell]
    found = [_find(part, shelf, dataset) for part in parts]
    pairs = [pair for pair in found if pair is not None]
    if len(pairs) < len(parts):
        return None
    entries = [entry for _, entry in pairs]
    shown = _figure(target.metric, entries, [part.target.metric for part in parts])
    if shown is None:
        return None
    differs = _differs(cell, [board for board, _ in pairs], dataset)
    return Measurement(
        shown,
        min(len(entry.values) for entry in entries),
        min(len(entry.seeds) for entry in entries),
        verdict(shown, cell.value / 100, differs),
    )


def _find(cell: Cell, shelf: Shelf, dataset: str) -> tuple[Board, Entry] | None:
    """The board and entry that hold a cell's own accuracy."""
    target = cell.target
    defense, attack = str(parse_defense(target.defense)), str(parse_part(target.attack))
    wanted = _ball(target.threat)
    for board in shelf.boards(dataset or target.dataset):
        for row in board.rows:
            entry = row.complete().get(attack) if row.asked == defense else None
            same = entry is not None and (
                dataset or entry.threat in (CLEAN, *ASIDE) or _ball(entry.threat) == wanted
            )
            if entry is not None and same:
                return board, entry
    return None


def _ball(threat: str) -> tuple[str, float]:
    """A threat whatever its spelling: `l2:3` is `l2:765/255`."""
    norm, _, eps = threat.partition(":")
    return norm, round(number(eps), 9) if eps else 0.0


def _figure(metric: str, entries: Sequence[Entry], metrics: Sequence[str]) -> Figure | None:
    """A cell's figure from the entries that it stands for, of which `metrics` are taken."""
    values = [_values(entry, own) for entry, own in zip(entries, metrics, strict=True)]
    there = [value for value in values if value is not None]
    block, index = entries[0].any.block, entries[0].any.index
    same = all(np.array_equal(entry.any.index, index) for entry in entries)
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


def _differs(cell: Cell, where: Iterable[Board], dataset: str) -> list[str]:
    """What is not as it was printed, in the words of the verdict."""
    target, found = cell.target, list(where)
    differs = [f"data set {dataset}"] if dataset and dataset != target.dataset else []
    for board in found:
        if target.subset and board.subset != target.subset:
            differs.append(f"subset {board.subset}")
        if board.preset != (target.preset or FULL):
            differs.append(f"budget {board.preset}")
    return list(dict.fromkeys(differs))
