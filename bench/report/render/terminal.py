"""The board on a terminal that shows colours and knows its width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.tables import Document, Table

if TYPE_CHECKING:
    from rich.console import Console


def show(document: Document, console: Console) -> None:
    """Print the document; each table turned on its side when it is wider than the screen."""
    from rich.text import Text

    console.print(Text(document.title, style="bold"))
    for line in document.prose:
        console.print(Text(line))
    for block in document.flat:
        console.print()
        if block.heading:
            console.print(Text(block.heading, style="bold"))
        if isinstance(block, Table):
            for line in block.lead:
                console.print(Text(line))
            _table(block, console)
            notes, mark = block.notes, ""
        else:
            notes, mark = block.lines, "  "
        for line in notes:
            console.print(Text(mark + line, style="" if mark else "dim"), soft_wrap=bool(mark))


def _table(block: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    cells = [block.header, *block.rows]
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    if sum(widths) > console.width and len(block.rows) < len(block.header):
        cells = list(zip(*cells, strict=True))
    grid = Grid(box=box.SIMPLE_HEAD)
    for name in cells[0]:
        grid.add_column(Text(name))
    for row in cells[1:]:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)
