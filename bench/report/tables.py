"""Neutral tables of text: what every renderer lays out, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from bench.boards.analysis import percent
from bench.boards.board import Row
from bench.boards.pairs import deviation
from bench.boards.worst import Item
from bench.stats import Figure


class Linked(str):
    """A text of which some parts lead to an address. parts: (text, address or empty)."""

    parts: tuple[tuple[str, str], ...]

    def __new__(cls, *parts: tuple[str, str]) -> Linked:
        """The text of all parts in order."""
        made = super().__new__(cls, "".join(text for text, _ in parts))
        made.parts = parts
        return made


@dataclass(frozen=True)
class Table:
    """Text cells under a heading; `major` tables open a board. lead: said before the cells."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    major: bool = False
    lead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Lines under a heading, as a bulleted list or as commands."""

    heading: str
    lines: tuple[str, ...]
    commands: bool = False


Block = Table | Listing


@dataclass(frozen=True)
class Fold:
    """Blocks that Markdown shows folded, under the heading of the first of them."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A title, opening prose, and the boards' tables in order."""

    title: str
    prose: tuple[str, ...]
    blocks: tuple[Block | Fold, ...]

    @property
    def flat(self) -> tuple[Block, ...]:
        """All blocks, of what is folded too."""
        return tuple(
            block
            for each in self.blocks
            for block in (each.blocks if isinstance(each, Fold) else (each,))
        )


def figure_text(found: Figure, sign: bool = False) -> str:
    """`83.2 [79.8, 86.1]`, percent."""
    low, high = percent(found.low, sign), percent(found.high, sign)
    return f"{percent(found.value, sign)} [{low}, {high}]"


def cell_text(item: Item | None) -> str:
    """`83.2 [79.8, 86.1]`, with the deviation over seeds and `<=` before an upper bound."""
    if item is None:
        return ""
    spread = deviation(item)
    bound = "<= " if item.missing else ""
    return bound + figure_text(item.figure) + (f" sd {percent(spread)}" if spread else "")


def label(row: Row) -> str:
    """What a row is called, with a word for controls."""
    return f"{row.label} (control)" if row.control else row.label
