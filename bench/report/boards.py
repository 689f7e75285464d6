"""The boards of a data set as one document: answers first, then what stands behind the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.boards.analysis import WORST, Analysis, analyse, percent
from bench.boards.answer import answer
from bench.boards.board import CLEAN, Board, Row
from bench.boards.flags import Flag, flags
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec, how_to_run
from bench.boards.words import of_row
from bench.report.details import details, effort
from bench.report.tables import Document, Fold, Linked, Listing, Table, cell_text
from bench.spec import NO_ATTACK

ELSEWHERE = (
    "The boards below are of other images or other budgets: rows of different boards are never "
    "compared. Their controls and all of their numbers are in the .csv beside this file, and on "
    "the page, which also says what each alarm is."
)
SUMMARY = ("rank", "defense", "classifier", NO_ATTACK, WORST, "strongest attack", "calls", "flags")


def document(boards: list[Board], spec: BoardSpec, dataset: str) -> Document:
    """Every board of a data set as one document; without boards, the line that fills it."""
    if not boards:
        how = Listing(
            "Nothing is measured yet; run", spec.how or (how_to_run(dataset),), commands=True
        )
        empty = Table(dataset, SUMMARY, (), major=True)
        return Document(spec.title, spec.prose, (empty, how))
    first, *others = [analyse(board) for board in boards]
    found = flags(first.board, boards)
    opening, *alarms = _opening(first, [flag for flag in found if flag.kind == "alarm"])
    opening = replace(opening, notes=spec.prose)
    notes = [flag for flag in found if flag.kind == "note"]
    blocks = [opening, *alarms, *details(first, notes)]
    folded = [Fold((_folded(analysis, boards),)) for analysis in others]
    more = [Listing("Measured at other amounts", (ELSEWHERE,))] if others else []
    return Document(spec.title, (), (*blocks, *more, *folded))


def _opening(analysis: Analysis, alarms: Sequence[Flag]) -> tuple[Table, *tuple[Listing, ...]]:
    """What a board says in words, its rows in eight columns, and its alarms."""
    lines = tuple(f"{flag}." for flag in alarms)
    told = [Listing("Alarms: this figure is doubtful", lines)] if lines else []
    return summary(analysis, analysis.board.rows, alarms), *told


def _folded(analysis: Analysis, boards: list[Board]) -> Table:
    """A board that is not the first: what it says, and its rows but for controls."""
    rows = [row for row in analysis.board.rows if not row.control]
    alarms = [flag for flag in flags(analysis.board, boards) if flag.kind == "alarm"]
    return summary(analysis, rows, alarms)


def summary(analysis: Analysis, rows: Sequence[Row], alarms: Sequence[Flag]) -> Table:
    """The answer of a board, and what decides it, a line for each of some rows."""
    board = analysis.board
    counts = Counter(flag.defense for flag in alarms)
    body = []
    for row in (row for row in ranked(board, analysis.worst) if row in rows):
        defense, _, classifier = row.label.partition("@")
        attacks = row.complete(board.threat).values()
        strongest = min(attacks, key=lambda entry: entry.figure.value, default=None)
        clean = next(iter(row.complete(CLEAN).values()), None)
        alarmed = counts[row.label]
        body.append(
            (
                str(analysis.rank.get(row.label, "")),
                named(defense, row, board),
                classifier,
                cell_text(clean),
                cell_text(analysis.worst.get(row.label)),
                f"{strongest.attack} {percent(strongest.figure.value)}" if strongest else "",
                effort(board, row)[3],
                f"{alarmed} alarm{'s' * (alarmed > 1)}" if alarmed else "",
            )
        )
    heading = f"{board.dataset}, {board.place}"
    return Table(heading, SUMMARY, tuple(body), major=True, lead=answer(analysis))


def named(name: str, row: Row, board: Board) -> str:
    """The name of a row's purifiers, and whose they are, with links."""
    told = {about.paper: about.link for about in of_row(board, row).values() if about.paper}
    papers = [part for paper in told.items() for part in (("; ", ""), paper)][1:]
    if row.control:
        return f"{name} (control)"
    return Linked((f"{name} (", ""), *papers, (")", "")) if papers else name
