"""Alarms say that an attack is doubtful; notes say what a defense is. Only from records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.boards.board import Board, Entry, Row
from bench.boards.flags import between, single
from bench.boards.flags.knowledge import facts

VARYING_SHARE = 0.01


@dataclass(frozen=True)
class Flag:
    """One sentence about a row, or about one of its columns (`attack`, else empty)."""

    kind: Literal["alarm", "note"]
    defense: str
    attack: str
    text: str

    def __str__(self) -> str:
        under = f" under {self.attack}" if self.attack else ""
        return f"{self.defense}{under}: {self.text}"


def flags(board: Board, boards: Sequence[Board] = ()) -> list[Flag]:
    """Every alarm, then every note of a board, in the order of its rows.

    boards: all of the data set, where another threat may tell of an attack on this one.
    """
    found: list[Flag] = []
    for row in board.rows:
        alarms, notes = _alarms(board, row, boards or (board,)), _notes(board, row)
        found += [Flag("alarm", row.label, *said) for said in alarms]
        found += [Flag("note", row.label, *said) for said in notes]
    return sorted(found, key=lambda flag: flag.kind)


def _alarms(board: Board, row: Row, boards: Sequence[Board]) -> Iterator[between.Said]:
    every, ours = row.complete(), row.complete(board.threat)
    yield from (("", text) for text in single.no_logits(every))
    for name, entry in every.items():
        yield from ((name, text) for text in single.doubts(entry))
        yield from ((name, text) for text in single.protocol_differs(entry))
        if said := single.wrong_gradients(entry):
            yield name, said
    yield from between.above_clean(every, board.threat)
    yield from between.less_does_more(ours)
    yield from between.noise_as_good(ours)
    yield from between.not_converged(ours)
    yield from between.misses_what_exists(board, row, boards)


def _notes(board: Board, row: Row) -> Iterator[between.Said]:
    entries = row.complete()
    if any(_varies(entry) for entry in entries.values()):
        yield "", "random inference: the same image gets different predictions"
    calls = max((e.cost.prediction for e in entries.values()), default=0.0)
    if calls > 1.5:
        yield "", f"one prediction asks {calls:.0f} network calls per image"
    yield from between.exact_against_bpda(row.complete(board.threat))
    for name, entry in entries.items():
        coarse = single.rounding(entry)
        if coarse is not None and (said := single.eight_bits_change(coarse)):
            yield name, said
        if said := single.compared_gradients(entry):
            yield name, said
        if said := single.checked_gradients(entry):
            yield name, said
        if said := single.few_draws(entry):
            yield name, said
        if facts(entry).given:
            yield name, "points that somebody submitted, in a file"
    gaps = [name for name, entry in row.entries.items() if not entry.complete]
    if gaps:
        yield "", f"not complete: {', '.join(gaps)}"


def _varies(entry: Entry) -> bool:
    each = (measured.verdicts for measured in entry.seeds.values())
    return any(float((v.any(axis=1) & ~v.all(axis=1)).mean()) > VARYING_SHARE for v in each)
