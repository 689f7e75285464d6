"""Neutral tables to files and screens; the suffix names the renderer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.boards.board import Board
from bench.boards.spec import BoardSpec
from bench.boards.tidy import FIELDS, tidy
from bench.report.published import document
from bench.report.tables import Document
from bench.results.store import write_whole

DOCUMENTS = {".md": "markdown", ".tex": "latex", ".html": "html"}
"""Renderers of any document, by suffix."""
BOARDS = (".md", ".csv", ".tex")
"""What the boards of one data set are written as."""
PAGE = ".html"
"""The suffix of the page of all data sets, which `bench.report.page` makes."""


@dataclass(frozen=True)
class Output:
    """What a file is made from: a document for people, rows with `fields` for machines."""

    document: Callable[[], Document]
    rows: Callable[[], Sequence[Mapping[str, str]]]
    fields: Sequence[str] = FIELDS

    def text(self, suffix: str) -> str:
        """The text of a file with that suffix."""
        if suffix == ".csv":
            from bench.report.render import csv

            return csv.render(self.rows(), self.fields)
        return written(self.document(), suffix)

    def write(self, out: Path) -> list[Path]:
        """Write `out`, and the .csv that a .md brings with it; the files written."""
        paths = [out, *([out.with_suffix(".csv")] if out.suffix == ".md" else [])]
        texts = [self.text(path.suffix) for path in paths]
        for path, text in zip(paths, texts, strict=True):
            write_whole(path, text)
        return paths


def of_boards(boards: list[Board], spec: BoardSpec, dataset: str) -> Output:
    """The boards of a data set."""
    return Output(lambda: document(boards, spec, dataset), lambda: tidy(boards, spec, dataset))


def written(document: Document, suffix: str) -> str:
    """A document in the format of a suffix of DOCUMENTS."""
    return str(import_module(f"bench.report.render.{DOCUMENTS[suffix]}").render(document))


def show(document: Document) -> None:
    """Print a document: laid out for a terminal, Markdown where the output is piped."""
    import sys

    if not sys.stdout.isatty():
        sys.stdout.write(written(document, ".md"))
        return
    from rich.console import Console

    from bench.report.render import terminal

    terminal.show(document, Console())
