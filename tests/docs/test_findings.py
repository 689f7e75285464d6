"""Figures of docs/findings.md are those of the published boards."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOARD = re.compile(r"^(?P<dataset>[\w-]+), (?P<preset>\w+), (?P<images>\d+) images:$")
WITHOUT = "without strict"
TRIES = "-resubmit@"
"""In the name of a metric of its own, whichever attack it is of."""


def figures() -> Iterator[tuple[str, str, str, str, str, str]]:
    """Data set, preset, images, defense, column and the figure of every cell of every table."""
    board: tuple[str, ...] = ()
    header: list[str] = []
    for line in (ROOT / "docs" / "findings.md").read_text().splitlines():
        if found := BOARD.match(line):
            board, header = found.groups(), []
        elif line.startswith("|--"):
            continue
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells[1:]
                continue
            for column, cell in zip(header, cells[1:], strict=True):
                if cell:
                    dataset, preset, images = board
                    yield dataset, preset, images, cells[0], column, cell


@pytest.mark.parametrize("cell", [pytest.param(cell, id="-".join(cell)) for cell in figures()])
def test_a_figure_stands_in_its_board(cell: tuple[str, ...]) -> None:
    dataset, preset, images, defense, column, figure = cell
    attack, group = ("worst case", column) if column == WITHOUT else (column, "")
    metric = column if TRIES in column else "accuracy"
    with (ROOT / "leaderboards" / f"{dataset}.csv").open(newline="") as file:
        found = {
            row["measured"]
            for row in csv.DictReader(file)
            if (row["preset"], row["n"], row["defense"]) == (preset, images, defense)
            and (row["metric"], row["group"]) == (metric, group)
            and (row["attack"] == attack or metric == column)
        }
    assert found == {figure}
