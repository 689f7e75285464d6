"""Two rows against each other: the paired test of every column that both have, and the worst case.

Only inside one section of a board: the same images, threat, preset and attack settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.boards.analysis import WORST, Analysis, analyse, draws_text
from bench.boards.board import Board, Entry, Row
from bench.boards.pairs import common_seeds, over_common, paired
from bench.boards.ranking import differing_attacks, differing_weights
from bench.boards.worst import Item
from bench.errors import BenchError, unknown
from bench.spec import parse_defense
from bench.stats import Comparison, Figure, holm

EVERY = "every column"
"""What is barred where two rows are not compared at all."""


@dataclass(frozen=True)
class Line:
    """One column in which both rows have a number, over the seeds that both have.

    adjusted: p after Holm. seeds: how many. draws: of both rows.
    """

    column: str
    first: Figure
    second: Figure
    test: Comparison
    adjusted: float
    seeds: int
    draws: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Versus:
    """Two rows of one section. barred: column -> why it is not compared."""

    board: Board
    first: Row
    second: Row
    lines: tuple[Line, ...]
    barred: dict[str, str]


def versus(boards: Sequence[Board], names: tuple[str, str]) -> list[Versus]:
    """The comparison of two rows in every section that holds both, larger presets first."""
    found = [{b: row for b in boards if (row := _row(b, name))} for name in names]
    for name, rows in zip(names, found, strict=True):
        if not rows:
            labels = {row.label for board in boards for row in board.rows}
            raise unknown("row", str(parse_defense(name)), labels)
    first, second = found
    shared = [board for board in boards if board in first and board in second]
    if not shared:
        places = (
            f"{name} is in {' and '.join(f'({board.place})' for board in rows)}"
            for name, rows in zip(names, found, strict=True)
        )
        raise BenchError(
            "rows of different images, threat or preset are never compared: " + "; ".join(places)
        )
    if any(first[board] is second[board] for board in shared):
        raise BenchError(f"'{names[0]}' and '{names[1]}' are the same row; name two")
    return [between(analyse(board), first[board], second[board]) for board in shared]


def between(analysis: Analysis, first: Row, second: Row) -> Versus:
    """Two rows of one board: the columns that both have, and why the others are not compared."""
    return each_between(analysis, [(first, second)])[0]


def each_between(analysis: Analysis, rows: Sequence[tuple[Row, Row]]) -> list[Versus]:
    """`between` of several pairs of rows of one board, all their tests at once."""
    columns = (*analysis.board.columns, WORST)
    bars = [_bars(analysis, pair, columns) for pair in rows]
    asked: dict[tuple[int, str], tuple[Item, Item]] = {}
    for place, (pair, barred) in enumerate(zip(rows, bars, strict=True)):
        for column in () if EVERY in barred else (name for name in columns if not barred[name]):
            a, b = (analysis.item(row, column) for row in pair)
            if a and b:
                asked[place, column] = (a, b)
    pending: list[dict[str, tuple[Item, Item, Comparison]]] = [{} for _ in rows]
    for (place, column), test in zip(asked, paired(list(asked.values())), strict=True):
        if test:
            pending[place][column] = (*asked[place, column], test)
        else:
            bars[place][column] = "no seed, or not all images, in common"
    return [
        Versus(analysis.board, *pair, _lines(tests), {c: why for c, why in barred.items() if why})
        for pair, tests, barred in zip(rows, pending, bars, strict=True)
    ]


def _bars(analysis: Analysis, rows: tuple[Row, Row], columns: Iterable[str]) -> dict[str, str]:
    """Why two rows are not compared in each column; empty where they may be."""
    if weights := differing_weights(*rows):
        names = ", ".join(weights)
        return {EVERY: f"measured with different weights of {names}; run one again"}
    return {column: _bar(analysis, column, rows) for column in columns}


def _lines(pending: Mapping[str, tuple[Item, Item, Comparison]]) -> tuple[Line, ...]:
    """A line for each column: both items and their test, which are adjusted to one another."""
    adjusted = holm([test.p for _, _, test in pending.values()])
    return tuple(
        Line(column, *over_common(a, b), test, p, len(common_seeds(a, b)), _draws(a, b))
        for (column, (a, b, test)), p in zip(pending.items(), adjusted, strict=True)
    )


def as_data(found: Sequence[Versus]) -> list[dict[str, Any]]:
    """The same as numbers (percent; p as it is), ready for JSON."""
    return [
        {
            **{key: getattr(v.board, key) for key in ("dataset", "subset", "threat", "preset")},
            "group": v.board.group,
            "images": v.board.images,
            "first": v.first.label,
            "second": v.second.label,
            "columns": [_datum(line) for line in v.lines],
            "not_compared": v.barred,
        }
        for v in found
    ]


def _row(board: Board, name: str) -> Row | None:
    """The row of a label, or of what was typed for it."""
    labelled = [row for row in board.rows if row.label == name]
    if labelled:
        return labelled[0]
    typed = str(parse_defense(name))
    rows = [row for row in board.rows if typed in (row.label, row.asked)]
    if len(rows) > 1:
        labels = ", ".join(f"'{row.label}'" for row in rows)
        raise BenchError(f"'{name}' is several rows; name one of {labels}")
    return rows[0] if rows else None


def _bar(analysis: Analysis, column: str, rows: tuple[Row, Row]) -> str:
    """Why two rows are not compared in a column; empty where they may be."""
    blank = [f"{row.label}: {why}" for row in rows if (why := analysis.why_blank(row, column))]
    if blank:
        return "; ".join(blank)
    items = [analysis.item(row, column) for row in rows]
    for row, item in zip(rows, items, strict=True):
        if item and item.missing:
            return f"{row.label}: an upper bound, not over {', '.join(item.missing)}"
    attacks = differing_attacks(*rows, analysis.board.threat) if column == WORST else ()
    if attacks:
        return f"other settings of {', '.join(attacks)}"
    settings = [item.settings for item in items if isinstance(item, Entry)]
    if len(set(settings)) > 1:
        return f"other settings of the attack: {' and '.join(settings)}"
    return ""


def _draws(*items: Item) -> tuple[str, ...]:
    """The judge's draws of each; nothing for a worst case."""
    return tuple(draws_text(item) if isinstance(item, Entry) else "" for item in items)


def _datum(line: Line) -> dict[str, Any]:
    test = line.test
    return {
        "attack": line.column,
        "first": _percent(line.first),
        "second": _percent(line.second),
        "difference": _percent(test.difference),
        "p": test.p,
        "p_holm": line.adjusted,
        "first_better": test.gains,
        "second_better": test.losses,
        "n": test.images,
        "seeds": line.seeds,
        "draws": list(line.draws),
        "test": test.test,
    }


def _percent(figure: Figure) -> dict[str, float]:
    values = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {name: round(100 * value, 1) for name, value in values.items()}
