"""`bench table --paper`: a paper's printed tables beside what was measured. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import opened
from bench.errors import BenchError, require_suffix

if TYPE_CHECKING:
    from bench.cli.schedule import Queue, Workforce
    from bench.literature.sheets import Sheet
    from bench.plan.from_papers import Priced

ALL = "all"
SUFFIXES = (".md", ".csv", ".tex", ".html")


def chosen(paper: str, number: str) -> dict[str, list[Sheet]]:
    """The tables that were asked for, by paper."""
    from bench.literature import sheets as papers

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
    """
    from bench.boards import reproduced
    from bench.report import render
    from bench.report.paper import document

    several = paper == ALL
    shelf = reproduced.Shelf(opened(results))
    filled = {
        name: [reproduced.fill(sheet, shelf, dataset) for sheet in sheets]
        for name, sheets in chosen(paper, number).items()
    }
    is_file = out and (out.is_file() or (out.suffix in SUFFIXES and not out.is_dir()))
    if several and is_file:
        raise BenchError(f"--out '{out}' is a file; all papers need a folder")
    if out and not several:
        require_suffix(out, SUFFIXES)
    lines = []
    for name, tables in filled.items():
        rows = [line for table in tables for line in reproduced.tidy(table)]
        output = render.Output(partial(document, tables), partial(list, rows), reproduced.FIELDS)
        lines += rows
        if out:
            for path in output.write(out / f"{name}.md" if several else out):
                click.echo(str(path), err=True)
        elif not as_json:
            click.echo(output.text(".md"), nl=False)
    if as_json:
        click.echo(json.dumps(lines, indent=1))


def list_tables(results: Path, *, as_json: bool) -> None:
    """Every printed table: its numbers, those that a run measures, those that are measured."""
    from tabulate import tabulate

    from bench.boards import reproduced
    from bench.literature import sheets as papers
    from bench.report.paper import summary

    shelf = reproduced.Shelf(opened(results))
    keys = ("paper", "table", "title", "numbers", "measurable", "measured")
    rows = [
        (sheet.paper, sheet.table, sheet.title, *summary(reproduced.fill(sheet, shelf)))
        for sheet in papers.sheets()
    ]
    if as_json:
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
        return
    total = ("", "", "all", *(sum(int(row[i]) for row in rows) for i in (3, 4, 5)))
    click.echo(tabulate([*rows, total], keys, tablefmt="simple", disable_numparse=[0, 1]))


def price(
    paper: str, number: str, dataset: str, preset: str, fleet: Workforce, *, as_json: bool
) -> None:
    """What filling the tables costs: cells and network calls of each, and of all together.

    A cell that several tables need is counted in each of them, and once in the sum.
    """
    from tabulate import tabulate

    from bench import api
    from bench.plan import from_papers

    api.load(())
    seen: dict[str, float] = {}
    rows, wanted = [], []
    for name, sheets in chosen(paper, number).items():
        for sheet in sheets:
            priced = from_papers.price([sheet], dataset, preset)
            rows.append((name, sheet.table, len(priced.calls), priced.left_out, _sum(priced.calls)))
            seen |= priced.calls
            wanted.append(sheet)
    runs = _runs(from_papers.price(wanted, dataset, preset), fleet) if fleet.workers else []
    keys = ("paper", "table", "cells", "left out", "network calls")
    if as_json:
        tables = [dict(zip(keys, row, strict=True)) for row in rows]
        whole = {"tables": tables, "schedule": fleet.rows(runs)} if runs else tables
        click.echo(json.dumps(whole, indent=1))
        return
    every = ("all", "", len(seen), sum(row[3] for row in rows), _sum(seen))
    shown = [(*row[:-1], f"{row[-1]:,.0f}") for row in (*rows, every)]
    click.echo(tabulate(shown, keys, tablefmt="simple", disable_numparse=True))
    if runs:
        click.echo(fleet.text(runs, timed=False))


def _sum(calls: Mapping[str, float]) -> float:
    return sum(calls.values())


def _runs(priced: Priced, fleet: Workforce) -> list[Queue]:
    """The shards of each run in turn; a cell of an earlier one is finished by then."""
    done: set[str] = set()
    runs = []
    for made, draft in priced.plans:
        digests = {planned.cell.digest for planned in made.cells}
        mine = {digest: () if digest in done else range(made.shards) for digest in digests}
        runs.append(fleet.run(made, draft.costs, {}, mine))
        done |= digests
    return runs
