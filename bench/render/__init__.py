"""Neutral tables to files and screens; the suffix names the renderer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.analysis import BoardSpec, tidy
from bench.boards import Board
from bench.claimed import document
from bench.errors import BenchError, nearest
from bench.results import write_whole
from bench.tables import Document


def to_markdown(boards: list[Board], spec: BoardSpec, dataset: str) -> str:
    """The boards of a data set as Markdown."""
    return written(document(boards, spec, dataset), ".md")


def to_csv(boards: list[Board], spec: BoardSpec, dataset: str) -> str:
    """The boards of a data set as tidy CSV."""
    from bench.render import csv as renderer

    return renderer.render(tidy(boards, spec, dataset))


def to_latex(boards: list[Board], spec: BoardSpec, dataset: str) -> str:
    """The boards of a data set as LaTeX."""
    return written(document(boards, spec, dataset), ".tex")


def written(found: Document, suffix: str) -> str:
    """A document in the format of a suffix of DOCUMENTS."""
    from importlib import import_module

    renderer = import_module(f"bench.render.{DOCUMENTS[suffix]}")
    return str(renderer.render(found))


DOCUMENTS = {".md": "markdown", ".tex": "latex", ".html": "html"}
"""Renderers of any document, by suffix."""
Renderer = Callable[[list[Board], BoardSpec, str], str]
RENDERERS: dict[str, Renderer] = {".md": to_markdown, ".csv": to_csv, ".tex": to_latex}
PAGE = ".html"
"""The suffix of the page of all data sets, which `bench.page` makes."""
# A file for people brings the numbers for machines with it.
COMPANIONS = {".md": (".csv",)}


def check_suffix(path: Path) -> None:
    """Refuse a file that nothing here can write.

    Raises:
        BenchError: what is allowed, and the nearest.
    """
    if path.suffix not in RENDERERS:
        suffixes = (*RENDERERS, PAGE)
        allowed, hint = ", ".join(suffixes), nearest(path.suffix, suffixes)
        raise BenchError(f"--out '{path}' does not end in one of {allowed}{hint}")


def write(boards: list[Board], spec: BoardSpec, dataset: str, out: Path) -> list[Path]:
    """Write `out` and its companions; the files written.

    Raises:
        BenchError: an unknown suffix, or a file that cannot be written.
    """
    check_suffix(out)
    paths = [out, *(out.with_suffix(suffix) for suffix in COMPANIONS.get(out.suffix, ()))]
    texts = [RENDERERS[path.suffix](boards, spec, dataset) for path in paths]
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text)
    return paths


def show(boards: list[Board], spec: BoardSpec, dataset: str) -> None:
    """Print the boards of a data set."""
    show_document(document(boards, spec, dataset))


def show_document(document: Document) -> None:
    """Print a document: laid out for a terminal, Markdown where the output is piped."""
    import sys

    if not sys.stdout.isatty():
        from bench.render import markdown

        sys.stdout.write(markdown.render(document))
        return
    from rich.console import Console

    from bench.render import terminal

    terminal.show(document, Console())
