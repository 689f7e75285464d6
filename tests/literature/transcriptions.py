"""Two transcriptions of the papers' tables, made apart from each other, compared cell by cell.

`second/<paper>-<NN>.txt` was typed by reading: a line `columns | head | head`, then a line per row,
`label | cell | cell`; `== text` is a section. Run `python -m tests.literature.transcriptions` for
what differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.literature import sheets
from bench.literature.sheets import Sheet

SECOND = Path(__file__).parent / "second"
REMARK = re.compile(r" \([a-z]+\)$")
"""A word in brackets that the print sets after a number."""
PANEL = re.compile(r"^(.*\d)[a-z]$")


def second(name: str) -> list[tuple[str, list[str]]]:
    """Rows of the second transcription: (label, cells as printed), panels side by side."""
    panels = [_rows(path) for path in sorted(SECOND.glob(f"{name}*.txt"))]
    return [
        (rows[0][0], [cell for _, cells in rows for cell in cells])
        for rows in zip(*panels, strict=True)
    ]


def _rows(path: Path) -> list[tuple[str, list[str]]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [
        [REMARK.sub("", field.strip()) for field in line.split("|")]
        for line in lines
        if line.strip() and not line.startswith("==")
    ]
    return [(row[0], row[1:]) for row in fields if row[0] != "columns"]


def first(sheet: Sheet) -> list[tuple[str, list[str]]]:
    """The same of a table as data."""
    return [
        (" / ".join(head.labels), [cell.printed for cell in sheet.line(number)])
        for number, head in enumerate(sheet.rows, 1)
    ]


def differences() -> Iterator[str]:
    """A line for each cell in which the two are not the same text, and for missing tables."""
    typed = typed_names()
    yield from (f"{name}: only once" for name in sorted(typed ^ set(sheets.names())))
    for name in sorted(typed & set(sheets.names())):
        sheet = sheets.load(*_parts(name))
        left, right = first(sheet), second(name)
        if len(left) != len(right):
            yield f"{name}: {len(left)} rows and {len(right)}"
            continue
        for number, ((label, cells), (other, read)) in enumerate(zip(left, right, strict=True), 1):
            same = cells == read[-len(cells) :] or _numbers(cells) == _numbers(read)
            if not same:
                yield f"{name} row {number} ({label}; {other}): {cells} and {read}"


def _numbers(cells: list[str]) -> list[str]:
    """Without columns of words, which one of the two may count among the labels, as it may the
    columns before the first figure.
    """
    kept = [cell for cell in cells if cell in ("", "-") or sheets.PRINTED.fullmatch(cell)]
    while kept and not kept[-1]:
        kept.pop()
    return kept


def typed_names() -> set[str]:
    """Tables of the second transcription; panels that are one table as data are one."""
    stems = {path.stem for path in SECOND.glob("*.txt")}
    known = set(sheets.names())
    return {stem if stem in known else PANEL.sub(r"\1", stem) for stem in stems}


def compared() -> tuple[int, int]:
    """How many tables and cells both hold."""
    names = sorted(set(sheets.names()) & typed_names())
    return len(names), sum(len(sheets.load(*_parts(name)).cells) for name in names)


def _parts(name: str) -> tuple[str, str]:
    paper, _, table = name.partition("-")
    return paper, table.lstrip("0")


if __name__ == "__main__":
    found = list(differences())
    print("\n".join(found))
    tables, cells = compared()
    print(f"{tables} tables, {cells} cells in both transcriptions, {len(found)} differences")
    sys.exit(bool(found))
