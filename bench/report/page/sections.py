"""A board as the page lays it out: its rows with their main figures, the matrix, the plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.boards.analysis import WORST, Analysis, analyse, percent
from bench.boards.answer import answer, compared
from bench.boards.board import BARE, CLEAN, CONTROL, DEFENSE, Board, Row
from bench.boards.flags import Flag, flags
from bench.boards.pairs import deviation
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec
from bench.boards.tidy import FIELDS, tidy_board
from bench.boards.words import method, of_column, of_row
from bench.boards.worst import Item
from bench.facts import About
from bench.report.details import effort, reading
from bench.report.page.cards import card, classifier, shared
from bench.report.page.columns import pack
from bench.report.page.pairs import pairs
from bench.report.page.plot import Dot, Plot, plot
from bench.report.tables import figure_text

LEVELS = 10
"""Shades of the matrix, from none to all right."""


@dataclass(frozen=True)
class Shown:
    """A figure as text, percent; level: its shade. bound: it is an upper bound."""

    value: str
    low: str
    high: str
    level: int
    bound: bool = False
    spread: str = ""


@dataclass(frozen=True)
class ShownRow:
    """A row of the board: its main figures. cells: those of the matrix, None where blank.

    alarmed: columns with an alarm; alarms: how many alarms the row has in all. papers: those of its
    purifiers.
    """

    label: str
    kind: str
    classifier: str
    worst: Shown | None
    rank: str
    first_rank: int
    clean: Shown | None
    strongest: str
    strongest_figure: Shown | None
    calls: str
    alarms: int
    alarmed: frozenset[str]
    cells: tuple[tuple[str, Shown | None], ...]
    papers: tuple[About, ...]

    @property
    def words(self) -> str:
        """What it is searched by."""
        return " ".join((self.label, *(about.paper for about in self.papers)))


@dataclass(frozen=True)
class Section:
    """One board. key: names it in links. answer: what it says, in sentences. attacks: in words."""

    key: str
    board: Board
    answer: tuple[str, ...]
    lines: tuple[ShownRow, ...]
    columns: tuple[str, ...]
    plot: Plot | None
    alarms: tuple[Flag, ...]
    reading: tuple[str, ...]
    attacks: tuple[tuple[str, About], ...]

    @property
    def classifiers(self) -> list[str]:
        """Those behind the rows, for a filter."""
        return sorted({line.classifier for line in self.lines if line.classifier})

    @property
    def kinds(self) -> list[str]:
        """The kinds of rows that there are."""
        order = (DEFENSE, CONTROL, BARE)
        return [each for each in order if any(line.kind == each for line in self.lines)]


def section(board: Board, boards: Sequence[Board], spec: BoardSpec) -> tuple[Section, Any]:
    """A board for the template, and the rest of it as plain data for the page's scripts."""
    analysis = analyse(board)
    rows = ranked(board, analysis.worst)
    found = flags(board, boards)
    of = {row.label: [flag for flag in found if flag.defense == row.label] for row in rows}
    made = Section(
        key=",".join(_place(board)),
        board=board,
        answer=answer(analysis),
        lines=tuple(_line(analysis, row, of[row.label]) for row in rows),
        columns=(WORST, *board.columns),
        plot=plot(_points(analysis, rows), _pairs(analysis, rows)),
        alarms=tuple(flag for flag in found if flag.kind == "alarm"),
        reading=reading(analysis),
        attacks=tuple((n, told) for n in board.columns if (told := of_column(board, n))),
    )
    return made, _data(analysis, rows, made.key, spec, of)


def _data(
    analysis: Analysis, rows: list[Row], key: str, spec: BoardSpec, of: dict[str, list[Flag]]
) -> dict[str, Any]:
    board = analysis.board
    own = {row.label: card(analysis, row, of[row.label]) for row in rows}
    texts = shared(own, ("attacks", "versions", "software", "weights"))
    order = [row.label for row in rows]
    return {
        "key": key,
        "name": "-".join((board.dataset, *_place(board)[2:])),
        "title": f"{board.budget.removeprefix('preset ')}, {board.images} images",
        "threat": board.threat,
        "order": order,
        "columns": [WORST, *board.columns],
        "methods": ["", *map(method, board.columns)],
        "tidy": pack(tidy_board(analysis, spec), FIELDS),
        "texts": texts,
        "cards": [own[label] for label in order],
        "commands": list(board.commands),
        **pairs(analysis, order),
    }


def _place(board: Board) -> tuple[str, ...]:
    """What tells a data set's boards apart."""
    group = (board.group,) if board.group else ()
    return (board.subset, board.threat, board.preset, str(board.images), *group)


def _line(analysis: Analysis, row: Row, found: Sequence[Flag]) -> ShownRow:
    board = analysis.board
    alarms = [flag for flag in found if flag.kind == "alarm"]
    attacks = row.complete(board.threat).values()
    strongest = min(attacks, key=lambda entry: entry.figure.value, default=None)
    clean = next(iter(row.complete(CLEAN).values()), None)
    rank = analysis.rank.get(row.label)
    return ShownRow(
        label=row.label,
        kind=row.kind,
        classifier=classifier(row),
        worst=_shown(analysis.worst.get(row.label)),
        rank=str(rank or ""),
        first_rank=rank.first if rank else 0,
        clean=_shown(clean),
        strongest=strongest.attack if strongest else "",
        strongest_figure=_shown(strongest),
        calls=effort(board, row)[3],
        alarms=len(alarms),
        alarmed=frozenset(flag.attack for flag in alarms if flag.attack),
        cells=tuple((name, _shown(analysis.item(row, name))) for name in (WORST, *board.columns)),
        papers=tuple(told for told in of_row(board, row).values() if told.paper),
    )


def _shown(item: Item | None) -> Shown | None:
    if item is None:
        return None
    found, spread = item.figure, deviation(item)
    return Shown(
        percent(found.value),
        percent(found.low),
        percent(found.high),
        round(LEVELS * found.value),
        bound=bool(item.missing),
        spread=percent(spread) if spread else "",
    )


def _points(analysis: Analysis, rows: Sequence[Row]) -> list[Dot]:
    """The rows that have a worst case, at the calls of one prediction."""
    points = []
    for row in rows:
        worst = analysis.worst.get(row.label)
        if worst is None:
            continue
        found, bound = worst.figure, bool(worst.missing)
        calls = max(entry.cost.prediction for entry in row.complete().values())
        most = "at most " if bound else ""
        said = f"{most}{figure_text(found)} % at {effort(analysis.board, row)[3]} calls"
        spot = (calls, found.value, found.low, found.high)
        points.append(Dot(row.label, row.kind, *spot, f"{row.label}: {said}", bound))
    return points


def _pairs(analysis: Analysis, rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Each purifier and the bare classifier behind it, with their difference where it is tested."""
    rows = [row for row in rows if row.label in analysis.worst]
    bare = {row.classifier: row.label for row in rows if row.kind == BARE}
    found: dict[tuple[str, str], str] = {}
    for row in (row for row in rows if row.kind == DEFENSE and row.classifier in bare):
        base = bare[row.classifier]
        test = compared(analysis, row.label, base)
        gap = f"{figure_text(test.difference, sign=True)} points" if test else "not compared"
        found[row.label, base] = f"{row.label} minus {base}: {gap}"
    return found
