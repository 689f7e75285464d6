"""The rows and columns of a board in words: what its plans say of the plug-ins behind a name."""

from __future__ import annotations

from collections.abc import Iterable

from bench.boards.board import Board, Row
from bench.errors import BenchError
from bench.facts import About
from bench.results.store import Plan
from bench.spec import DefenseSpec, parse_defense, parse_part

Words = dict[str, dict[str, About]]


def gathered(plans: Iterable[Plan]) -> Words:
    """By kind and name; of what plans say differently, the word of the last that has a paper."""
    found: Words = {}
    for kind, known in (pair for plan in plans for pair in plan.about.items()):
        for name, about in known.items():
            before = found.setdefault(kind, {}).get(name)
            if before is None or about.paper or not before.paper:
                found[kind][name] = about
    return found


def of_row(board: Board, row: Row) -> dict[str, About]:
    """Each purifier of a row by its name; those that no plan tells of are left out."""
    spec = _parsed(row)
    known = board.about.get("defense", {})
    return {p.name: known[p.name] for p in (spec.parts if spec else ()) if p.name in known}


def of_classifier(board: Board, row: Row) -> About | None:
    """The classifier of a row, where a plan tells of it."""
    spec = _parsed(row)
    return board.about.get("classifier", {}).get(spec.classifier.name) if spec else None


def of_column(board: Board, column: str) -> About | None:
    """The attack of a column, where a plan tells of it."""
    return board.about.get("attack", {}).get(method(column))


def method(column: str) -> str:
    """The name of a column's attack without its settings; empty where it cannot be read."""
    try:
        return parse_part(column).name
    except BenchError:
        return ""


def _parsed(row: Row) -> DefenseSpec | None:
    try:
        return parse_defense(row.settings)
    except BenchError:
        return None
