"""The comparison of two rows as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.boards.analysis import p_text
from bench.boards.compare import Line, Versus
from bench.report.tables import Document, Listing, Table, figure_text

HEADER = ("difference", "p", "p after Holm", "first better", "second better", "n", "seeds")


NOTE = (
    "First minus second on the same images and seeds, over which all figures here are, in points "
    "with the paired 95 % interval. First and second better: images on which one is right more "
    "often than the other. p: exact McNemar at one draw of independent images, else a permutation "
    "of signs by image or block; Holm over this table."
)


def as_document(found: Sequence[Versus]) -> Document:
    """A table per section, and what is not compared with its reason."""
    head = found[0]
    title = f"{head.first.label} against {head.second.label} on {head.board.dataset}"
    return Document(title, (), tuple(block for section in found for block in _blocks(section)))


def _blocks(found: Versus) -> Iterator[Table | Listing]:
    first, second = found.first.label, found.second.label
    if found.lines:
        header = ("attack", first, second, *HEADER, "draws", "test")
        body = tuple(_cells(line) for line in found.lines)
        yield Table(found.board.place, header, body, (NOTE,), major=True)
    if found.barred:
        heading = "Not compared" if found.lines else f"Not compared: {found.board.place}"
        lines = tuple(f"{column}: {reason}" for column, reason in found.barred.items())
        yield Listing(heading, lines)


def _cells(line: Line) -> tuple[str, ...]:
    test = line.test
    return (
        line.column,
        figure_text(line.first),
        figure_text(line.second),
        figure_text(test.difference, sign=True),
        p_text(test.p),
        p_text(line.adjusted),
        *map(str, (test.gains, test.losses, test.images, line.seeds)),
        " and ".join(dict.fromkeys(line.draws)),
        test.test,
    )
