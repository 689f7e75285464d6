"""All boards as one static page: a file that needs no network, no server and no other file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from bench.boards.board import Board
from bench.boards.gather import boards
from bench.boards.spec import BoardSpec, how_to_run, load_spec
from bench.boards.tidy import FIELDS, tidy_published
from bench.report import published as claimed
from bench.report.page.columns import pack
from bench.report.page.sections import Section, section
from bench.report.tables import Table
from bench.results.archive import Results


@dataclass(frozen=True)
class DataSet:
    """One data set's part of the page, and its data for the page's scripts.

    how: the lines that fill it where it is empty. published: what the papers and others say of it.
    """

    name: str
    spec: BoardSpec
    how: tuple[str, ...]
    sections: tuple[Section, ...]
    published: tuple[Table, ...]
    data: dict[str, Any]

    @property
    def measured(self) -> int:
        """How many figures there are."""
        return sum(part.board.measured for part in self.sections)


def render(source: Results, datasets: Iterable[str], preset: str = "") -> str:
    """The page of these data sets, most measured ones first: the same text each time."""
    from bench.report.page.html import html

    found = [_dataset(source, name, preset) for name in datasets]
    return html(sorted(found, key=lambda each: -each.measured))


def _dataset(source: Results, name: str, preset: str) -> DataSet:
    found = boards(source, name, preset) if name in source.datasets() else []
    spec = load_spec(name)
    made = [section(board, found, spec) for board in found if board.measured]
    return DataSet(
        name=name,
        spec=spec,
        how=spec.how or (how_to_run(name),),
        sections=tuple(part for part, _ in made),
        published=claimed.published(found, spec, name),
        data={
            "name": name,
            "about": _words(found[0]) if found else {},
            "boards": [data for _, data in made],
            "published": pack(tidy_published(found, spec, name), FIELDS),
        },
    )


def _words(board: Board) -> dict[str, dict[str, tuple[str, ...]]]:
    """What plug-ins are, by kind and name: in words, whose, and where that can be read."""
    return {
        kind: {name: astuple(about) for name, about in known.items()}
        for kind, known in board.about.items()
    }
