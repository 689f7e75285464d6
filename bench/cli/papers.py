"""`bench table --paper`: a paper's printed tables beside what was measured. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import opened
from bench.errors import BenchError, nearest

if TYPE_CHECKING:
    from bench.papers import Sheet
    from bench.reported import Filled

ALL = "all"
SUFFIXES = (".md", ".csv", ".tex", ".html")


def chosen(paper: str, number: str) -> dict[str, list[Sheet]]:
    """The tables that were asked for, by paper.

    Raises:
        BenchError: an unknown paper or table, or a table of no single paper.
    """
    from bench import papers

    if number and paper in ("", ALL):
        raise BenchError(f"--table {number}: of which paper? --paper {', '.join(papers.PAPERS)}")
    if number:
        return {paper: [papers.load(paper, number)]}
    return {name: papers.sheets(name) for name in (papers.PAPERS if paper == ALL else [paper])}


def paper_tables(
    paper: str, number: str, results: Path, dataset: str, out: Path | None, *, as_json: bool
) -> None:
    """Print the tables, write one paper's to `out` (.md brings .csv), or all to a folder.

    dataset: lays them out on the boards of another data set than the papers'.

    Raises:
        BenchError: an unknown paper, table or suffix; results that cannot be read.
    """
    from bench import reported
    from bench.printed import document
    from bench.render import markdown

    shelf = reported.Shelf(opened(results))
    found = {
        name: [reported.fill(sheet, shelf, dataset) for sheet in sheets]
        for name, sheets in chosen(paper, number).items()
    }
    if out is not None:
        for path in _write(found, out, several=paper == ALL):
            click.echo(str(path), err=True)
    if as_json:
        lines = [line for filled in found.values() for f in filled for line in reported.tidy(f)]
        click.echo(json.dumps(lines, indent=1))
    elif out is None:
        for filled in found.values():
            click.echo(markdown.render(document(filled)), nl=False)


def _write(found: Mapping[str, Sequence[Filled]], out: Path, several: bool) -> Iterator[Path]:
    from bench.printed import document
    from bench.render import COMPANIONS, csv, written
    from bench.reported import FIELDS, tidy
    from bench.results import write_whole

    if several and (out.is_file() or (out.suffix in SUFFIXES and not out.is_dir())):
        raise BenchError(f"--out '{out}' is a file; all papers need a folder")
    if not several and out.suffix not in SUFFIXES:
        hint = nearest(out.suffix, SUFFIXES)
        raise BenchError(f"--out '{out}' does not end in one of {', '.join(SUFFIXES)}{hint}")
    for name, filled in found.items():
        path = out / f"{name}.md" if several else out
        for suffix in (path.suffix, *COMPANIONS.get(path.suffix, ())):
            rows = [line for item in filled for line in tidy(item)]
            whole = (
                csv.render(rows, FIELDS) if suffix == ".csv" else written(document(filled), suffix)
            )
            write_whole(path.with_suffix(suffix), whole)
            yield path.with_suffix(suffix)


def list_tables(results: Path, *, as_json: bool) -> None:
    """Every printed table: its numbers, those that a run measures, those that are measured."""
    from tabulate import tabulate

    from bench import papers, reported
    from bench.printed import summary

    shelf = reported.Shelf(opened(results))
    keys = ("paper", "table", "title", "numbers", "measurable", "measured")
    rows = [
        (sheet.paper, sheet.table, sheet.title, *summary(reported.fill(sheet, shelf)))
        for sheet in papers.sheets()
    ]
    if as_json:
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
        return
    total = ("", "", "all", *(sum(int(row[i]) for row in rows) for i in (3, 4, 5)))
    click.echo(tabulate([*rows, total], keys, tablefmt="simple", disable_numparse=[0, 1]))
