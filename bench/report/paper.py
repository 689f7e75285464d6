"""A paper's tables in its own layout: each number as printed, beside it what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.boards.reproduced import Filled, notes_of, of_others
from bench.literature.sheets import PAPERS, STAR, PrintedCell, externals
from bench.report.published import others
from bench.report.tables import Document, Listing, Table, figure_text

LEGEND = (
    "Numbers are those of the print, in percent unless the table says otherwise. Where a run here "
    "measured the same, it follows after 'measured' with its 95 % interval and what that says of "
    "the printed number. external: the lowest that others measured of that defense within that "
    "ball, by attacks of their own, which may know more. *: the paper took the number from another "
    "one. [n]: footnotes of ours."
)


def document(filled: Sequence[Filled]) -> Document:
    """Tables of one paper, in the order given, with what others measured of its defense."""
    paper = filled[0].sheet.paper
    blocks = [block for item in filled for block in _blocks(item)]
    found = [figure for figure in externals() if figure.paper == paper]
    return Document(f"{PAPERS[paper]}: the printed tables", (LEGEND,), (*blocks, *others(found)))


def summary(filled: Filled) -> tuple[int, int, int]:
    """Printed numbers, those that a run would measure, those that are measured."""
    numbers = list(filled.sheet.numbers())
    return len(numbers), sum(cell.target.measurable for cell in numbers), len(filled.found)


def _blocks(filled: Filled) -> Iterator[Table | Listing]:
    sheet = filled.sheet
    labels = max(len(row.labels) for row in sheet.rows)
    grouped = any(row.group for row in sheet.rows)
    notes = _Notes(filled)
    body = []
    for number, row in enumerate(sheet.rows, 1):
        head = (row.group, *row.labels) if grouped else row.labels
        padded = (*head, *[""] * (labels + grouped - len(head)))
        cells = (_text(filled, cell, notes.mark(cell)) for cell in sheet.line(number))
        body.append((*padded, *cells))
    printed, measurable, measured = summary(filled)
    on = f" Laid out on {filled.dataset}." if filled.dataset else ""
    facts = (
        f"{sheet.source}. {printed} numbers, {measurable} of them measurable here, "
        f"{measured} measured.{on}"
    )
    header = (*[""] * (labels + grouped), *sheet.columns)
    heading = f"Table {sheet.table}: {sheet.title}"
    yield Table(heading, header, tuple(body), (facts,), major=True)
    if notes.lines:
        yield Listing("", tuple(notes.lines))


class _Notes:
    """Numbers the footnotes of a table; one text has one number."""

    def __init__(self, filled: Filled) -> None:
        self.filled = filled
        whole = [note.text for note in filled.sheet.notes if not note.row]
        self.lines = list(whole)
        self._known: dict[str, int] = {}

    def mark(self, cell: PrintedCell) -> str:
        """`[1]`, `[1][3]` or nothing."""
        marks = []
        for text in notes_of(self.filled, cell) if cell.value is not None else ():
            if text not in self._known:
                self._known[text] = len(self._known) + 1
                self.lines.append(f"[{self._known[text]}] {text}")
            marks.append(self._known[text])
        return "".join(f"[{mark}]" for mark in sorted(marks))


def _text(filled: Filled, cell: PrintedCell, mark: str) -> str:
    star = STAR if cell.borrowed and not cell.printed.endswith(STAR) else ""
    other = of_others(filled, cell) if cell.value is not None else None
    external = f"; external {other.text}" if other else ""
    printed = f"{cell.printed}{star}{external}{' ' + mark if mark else ''}"
    measured = filled.found.get((cell.row, cell.column))
    if measured is None:
        return printed
    note = f" ({measured.note})" if measured.note else ""
    return f"{printed}; measured {figure_text(measured.figure)}, {measured.verdict}{note}"
