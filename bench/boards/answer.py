"""What a board says in words: the best row, what purifiers gain, what was overstated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.boards.analysis import Analysis, percent
from bench.boards.board import BARE, CONTROL, DEFENSE, Entry, Row, Worst, paired
from bench.boards.ranking import differing_weights, ranked
from bench.stats import Figure

FALL = 0.2
"""How far below what an attack by BPDA says the worst case lies where that is said."""
NAMED = 3
"""Rows that a sentence names; of others it says how many."""


def answer(analysis: Analysis) -> tuple[str, ...]:
    """The answer of a board in sentences; none where no row has a worst case to compare."""
    worst = analysis.worst
    rows = [
        row
        for row in ranked(analysis.board, worst)
        if row.label in worst and not worst[row.label].missing
    ]
    if not rows:
        return ()
    return (
        _best(analysis, rows),
        *_purifier(rows, [worst[row.label] for row in rows]),
        *_overstated(analysis, rows),
    )


def _best(analysis: Analysis, rows: Sequence[Row]) -> str:
    first = rows[0]
    beside = [row.label for row in rows[1:] if analysis.rank[row.label].first == 1]
    more = f"; {_named(beside)} cannot be told apart from it" if beside else ""
    figure = _text(analysis.worst[first.label].figure)
    return f"Best of {len(rows)} rows: {first.label}, {figure} % right in the worst case{more}."


def _purifier(rows: Sequence[Row], worst: Sequence[Worst]) -> Iterator[str]:
    """The best purifier beside the best of what is no purifier, paired on the same images."""
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.kind, place)
    if DEFENSE not in first:
        return
    ours = first[DEFENSE]
    found = {kind: first[kind] for kind in (BARE, CONTROL) if kind in first}
    tests = paired([(worst[ours], worst[place]) for place in found.values()])
    said = [f"Best purifier: {rows[ours].label}, {_text(worst[ours].figure)} %"]
    for (kind, place), test in zip(found.items(), tests, strict=True):
        name = f"{rows[place].label}, the best {kind}"
        if test is None or differing_weights(rows[ours], rows[place]):
            said.append(f"not compared with {name}")
        else:
            said.append(f"{_text(test.difference, sign=True)} against {name}")
    chosen = "; each chosen on these images" if found else ""
    yield f"{'; '.join(said)}{chosen}."


def _overstated(analysis: Analysis, rows: Sequence[Row]) -> Iterator[str]:
    falls = []
    for row in (row for row in rows if row.kind == DEFENSE):
        looked = _looked(row, analysis.board.threat)
        if looked is None:
            continue
        before, after = looked.figure.value, analysis.worst[row.label].figure.value
        if before - after >= FALL:
            falls.append(
                (
                    before - after,
                    f"{row.label} {percent(before)} under {looked.attack}, "
                    f"{percent(after)} in the worst case",
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
