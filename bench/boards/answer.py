"""What a board says in words: the best row, what purifiers gain, what was overstated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.boards.analysis import Analysis, percent
from bench.boards.board import BARE, CONTROL, DEFENSE, Entry, Row
from bench.boards.ranking import ranked, told_apart, whole
from bench.stats import Figure

FALL = 0.2
"""How far below what an attack by BPDA says the worst case lies where that is said."""
NAMED = 3
"""Rows that a sentence names; of others it says how many."""


def answer(analysis: Analysis) -> tuple[str, ...]:
    """The answer of a board in sentences; none where no row has a whole worst case."""
    worst = analysis.worst
    rows = [row for row in ranked(analysis.board, worst) if whole(row, worst)]
    if not rows:
        return ()
    return (_best(analysis, rows), *_purifier(analysis, rows), *_overstated(analysis))


def _best(analysis: Analysis, rows: Sequence[Row]) -> str:
    first, *others = (row.label for row in rows)
    tests = {row: compared(analysis, first, row) for row in others}
    equal = [row for row, test in tests.items() if test and not test.apart]
    unlike = [row for row, test in tests.items() if test is None]
    more = f"; {_named(equal)} cannot be told apart from it" if equal else ""
    more += f"; not compared with {_named(unlike)}" if unlike else ""
    bounds = len(analysis.board.rows) - len(rows)
    of = f"Best of {len(rows)} rows" if others else "One row"
    left = f" ({bounds} more have only an upper bound)" if bounds else ""
    figure = _text(analysis.worst[first].figure)
    return f"{of}{left}: {first}, {figure} % right in the worst case{more}."


def _purifier(analysis: Analysis, rows: Sequence[Row]) -> Iterator[str]:
    """The best purifier beside the best of what is no purifier, paired on the same images."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.kind, row.label)
    if DEFENSE not in first:
        return
    ours = first[DEFENSE]
    said = [f"Best purifier: {ours}, {_text(analysis.worst[ours].figure)} %"]
    paired = False
    for kind in (kind for kind in (BARE, CONTROL) if kind in first):
        name = f"{first[kind]}, the best {kind}"
        test = compared(analysis, ours, first[kind])
        if test is None:
            said.append(f"not compared with {name}")
        else:
            said.append(f"{_text(test.difference, sign=True)} against {name}")
            paired = True
    chosen = "; each chosen on these images" if paired else ""
    yield f"{'; '.join(said)}{chosen}."


class RowDifference(NamedTuple):
    """The first minus the second, and whether they differ significantly."""

    difference: Figure
    apart: bool


def compared(analysis: Analysis, first: str, second: str) -> RowDifference | None:
    """Of two rows over all seeds of both; None where they may not be compared so."""
    if analysis.worst[first].by_seed.keys() != analysis.worst[second].by_seed.keys():
        return None
    if (first, second) in analysis.tests:
        test, p = analysis.tests[first, second]
        return RowDifference(test.difference, told_apart(p))
    if (second, first) not in analysis.tests:
        return None
    test, p = analysis.tests[second, first]
    gap = test.difference
    return RowDifference(Figure(-gap.value, -gap.high, -gap.low), told_apart(p))


def _overstated(analysis: Analysis) -> Iterator[str]:
    """What falls far below BPDA; an upper bound says so too."""
    falls = []
    for row in (row for row in analysis.board.rows if row.kind == DEFENSE):
        looked, worst = _looked(row, analysis.board.threat), analysis.worst.get(row.label)
        if looked is None or worst is None:
            continue
        before, after = looked.figure.value, worst.figure.value
        most = "at most " if worst.missing else ""
        if before - after >= FALL:
            falls.append(
                (
                    before - after,
                    f"{row.label} {percent(before)} under {looked.attack}, "
                    f"{most}{percent(after)} in the worst case",
                )
            )
    if falls:
        told = [text for _, text in sorted(falls, reverse=True)]
        more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
        yield f"BPDA overstates: {'; '.join(told[:NAMED])}{more}."


def _looked(row: Row, threat: str) -> Entry | None:
    """The attack by BPDA that leaves most: what a paper's table may show of such a defense."""
    entries = [e for e in row.complete(threat).values() if e.facts and e.facts.follows == "bpda"]
    return max(entries, key=lambda entry: entry.figure.value, default=None)


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return ", ".join(labels[:NAMED]) + more


def _text(figure: Figure, *, sign: bool = False) -> str:
    low, high = percent(figure.low, sign), percent(figure.high, sign)
    return f"{percent(figure.value, sign)} [{low}, {high}]"
