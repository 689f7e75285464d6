"""Which rows of a board stand above which, as far as its images can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from bench.boards.board import Board, Row
from bench.boards.pairs import paired
from bench.boards.worst import Worst
from bench.stats import CONFIDENCE, Comparison, holm


@dataclass(frozen=True)
class Rank:
    """The ranks that a row may have among the rows that are ranked, 1 the best; both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def ranked(board: Board, worst: Mapping[str, Worst]) -> list[Row]:
    """Rows from the highest worst case down; rows without one, or with gaps in it, last."""

    def key(row: Row) -> tuple[bool, bool, float]:
        found = worst.get(row.label)
        return (
            found is None,
            bool(found and found.missing),
            -float(found.values.mean()) if found else 0.0,
        )

    return sorted(board.rows, key=key)


Tests = Mapping[tuple[str, str], tuple[Comparison, float]]
"""Two row labels, in the order of the board -> the test of their worst cases, p after Holm."""


def tests_of(board: Board, worst: Mapping[str, Worst]) -> Tests:
    """Every two rows that may be compared (weights, seeds, attacks) and have whole worst cases."""
    rows = [row for row in board.rows if whole(row, worst)]
    two = [
        (a.label, b.label)
        for a, b in combinations(rows, 2)
        if not differing_weights(a, b) and not differing_attacks(a, b, board.threat)
    ]
    asked = paired([(worst[a], worst[b]) for a, b in two])
    tests = {labels: test for labels, test in zip(two, asked, strict=True) if test}
    adjusted = holm([test.p for test in tests.values()])
    return {labels: (tests[labels], p) for labels, p in zip(tests, adjusted, strict=True)}


def whole(row: Row, worst: Mapping[str, Worst]) -> bool:
    """Whether a row has a worst case that is no upper bound."""
    found = worst.get(row.label)
    return found is not None and not found.missing


def told_apart(p: float) -> bool:
    """Whether two rows differ significantly."""
    return p < 1 - CONFIDENCE


def ranks(board: Board, worst: Mapping[str, Worst], tests: Tests) -> dict[str, Rank]:
    """Row label -> 1 + the rows that are significantly better, to n - those significantly worse.

    Significant: the paired test of the two worst cases, after Holm over every pair of the board.
    Two rows that may not be compared (other weights, or other settings of an attack of one name, as
    after a release that changed a default) leave each other's rank open. A row whose worst case is
    an upper bound has none.
    """
    names = [row.label for row in board.rows if whole(row, worst)]
    better, worse = (dict.fromkeys(names, 0) for _ in range(2))
    for (first, second), (test, p) in tests.items():
        if told_apart(p):
            ahead, behind = (first, second) if test.difference.value > 0 else (second, first)
            worse[ahead] += 1
            better[behind] += 1
    return {name: Rank(1 + better[name], len(names) - worse[name]) for name in names}


def differing_weights(a: Row, b: Row) -> tuple[str, ...]:
    """Names of weights that the cells of two rows were measured with in two versions."""
    names = a.weights.keys() | b.weights.keys()
    none: frozenset[str] = frozenset()
    both = {name: a.weights.get(name, none) | b.weights.get(name, none) for name in names}
    return tuple(sorted(name for name, found in both.items() if len(found) > 1))


def differing_attacks(a: Row, b: Row, threat: str) -> tuple[str, ...]:
    """Columns of a worst case that two rows have of one name, by attacks of other settings."""
    both = ((name, a.numbers[name], b.numbers[name]) for name in a.numbers if name in b.numbers)
    return tuple(
        name for name, one, other in both if one.threat == threat and one.settings != other.settings
    )
