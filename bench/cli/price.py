"""`bench plan --paper`: what filling a paper's printed tables costs."""

from __future__ import annotations

import json

import click

from bench.cli.papers import chosen


def price(paper: str, number: str, dataset: str, preset: str, *, as_json: bool) -> None:
    """What filling the tables costs: cells and network calls of each, and of all together.

    A cell that several tables need is counted in each of them, and once in the sum.
    """
    from tabulate import tabulate

    from bench import api
    from bench.plan import from_papers

    api.load(())
    seen: dict[str, float] = {}
    rows = []
    for name, sheets in chosen(paper, number).items():
        for sheet in sheets:
            calls, left_out = from_papers.price([sheet], dataset, preset)
            rows.append((name, sheet.table, len(calls), left_out, sum(calls.values())))
            seen |= calls
    keys = ("paper", "table", "cells", "left out", "network calls")
    if as_json:
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
        return
    whole = ("all", "", len(seen), sum(row[3] for row in rows), sum(seen.values()))
    shown = [(*row[:-1], f"{row[-1]:,.0f}") for row in (*rows, whole)]
    click.echo(tabulate(shown, keys, tablefmt="simple", disable_numparse=True))
