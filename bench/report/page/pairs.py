"""The paired test of every two rows of a board, for a page that computes nothing."""

from __future__ import annotations

from bench.boards.analysis import Analysis, numbers, p_text
from bench.boards.compare import Line, each_between
from bench.report.page.columns import Packed, pack

TESTS = (
    *("first", "second", "attack", "difference", "low", "high", "p", "holm"),
    *("gains", "losses", "n", "seeds", "draws", "test"),
)
BARS = ("first", "second", "attack", "reason")


def pairs(analysis: Analysis, order: list[str]) -> dict[str, Packed]:
    """The tests of every two rows, by their places in `order` (labels), and bars against them.

    A column in which one of the rows is blank is no bar: the tidy rows say why it is.
    """
    tests: list[dict[str, str]] = []
    bars: list[dict[str, str]] = []
    rows = {row.label: row for row in analysis.board.rows}
    for a, first in enumerate(order):
        others = list(enumerate(order))[a + 1 :]
        every = each_between(analysis, [(rows[first], rows[second]) for _, second in others])
        for (b, second), found in zip(others, every, strict=True):
            pair = {"first": str(a), "second": str(b)}
            tests += [pair | _test(line) for line in found.lines]
            bars += [
                pair | {"attack": name, "reason": why}
                for name, why in found.barred.items()
                if not any(analysis.why_blank(rows[label], name) for label in (first, second))
            ]
    return {"tests": pack(tests, TESTS), "bars": pack(bars, BARS)}


def _test(line: Line) -> dict[str, str]:
    test = line.test
    difference = numbers(test.difference, sign=True)
    return difference | {
        "attack": line.column,
        "difference": difference["measured"],
        "p": p_text(test.p),
        "holm": p_text(line.adjusted),
        "gains": str(test.gains),
        "losses": str(test.losses),
        "n": str(test.images),
        "seeds": str(line.seeds),
        "draws": " and ".join(dict.fromkeys(line.draws)),
        "test": test.test,
    }
