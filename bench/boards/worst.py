"""The worst case of a row, and which attacks it says nothing of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.boards.board import BARE, CLEAN, Board, Entry, Row, mean_over, mixed_weights
from bench.boards.metrics import worst_case
from bench.spec import NO_ATTACK
from bench.stats import Figure, Floats, Ints, mean_interval


@dataclass(frozen=True, eq=False)
class Worst:
    """The worst case of one row: its correctness under the worst attack on each image.

    by_seed: as of an Entry. share: attack -> part of the images for which it was the worst.
    missing: attacks that it should cover and does not; it is then an upper bound, compared with
    nothing.
    """

    by_seed: Mapping[int, Floats]
    block: Ints
    index: Ints
    threat: str
    share: Mapping[str, float]
    missing: tuple[str, ...]

    @cached_property
    def values(self) -> Floats:
        """Per-image correctness [N], averaged over seeds."""
        return mean_over(self.by_seed.values())

    @cached_property
    def figure(self) -> Figure:
        """The mean with its interval over images."""
        return mean_interval(self.values, self.block)


Item = Entry | Worst
"""What stands at one place of a board and has a number."""


def worst(board: Board, row: Row) -> Worst | None:
    """The worst case over clean and the board's threat, or None without a complete attack."""
    covered = (CLEAN, board.threat)
    ready = {name: e for name, e in row.complete().items() if e.threat in covered}
    attacks = [name for name, entry in ready.items() if entry.threat == board.threat]
    first = ready[attacks[0]].any if attacks else None
    same = all(first and np.array_equal(e.any.index, first.index) for e in ready.values())
    if not first or not same or mixed_weights(ready.values()):
        return None
    common = set.intersection(*(set(entry.seeds) for entry in ready.values()))
    values: dict[int, Floats] = {}
    picks: list[Ints] = []
    for seed in sorted(common):
        values[seed], chosen = worst_case([entry.seeds[seed] for entry in ready.values()])
        picks.append(chosen)
    if not values:
        return None
    every = np.concatenate(picks)
    share = {name: float((every == place).mean()) for place, name in enumerate(ready)}
    missing = uncovered(board, row, ready)
    return Worst(values, first.block, first.index, board.threat, share, missing)


def uncovered(board: Board, row: Row, ready: Mapping[str, Entry]) -> tuple[str, ...]:
    """Columns of the board that a worst case must cover and that no entry of `ready` stands for.

    A row that fewer attacks were asked of would otherwise look stronger than the rest.
    """
    covered = {entry.settings for entry in ready.values()}
    informed = _informed(row, ready)
    found = []
    for column in board.columns:
        entries = board.by_column.get(column, ())
        needed = column not in ready and _within(board, entries) and not _done(entries, covered)
        if needed and not _excused(board, row, column, informed):
            found.append(column)
    if not any(entry.threat == CLEAN for entry in ready.values()):
        found = list(dict.fromkeys([NO_ATTACK, *found]))
    return tuple(found)


def _within(board: Board, entries: Sequence[Entry]) -> bool:
    """Whether a column belongs to a worst case at all: clean, or within the board's threat."""
    return any(entry.threat in (CLEAN, board.threat) for entry in entries)


def _done(entries: Sequence[Entry], covered: set[str]) -> bool:
    """Whether the row was attacked in the same way under another label."""
    return {entry.settings for entry in entries} <= covered


def _excused(board: Board, row: Row, column: str, informed: bool) -> bool:
    """Whether the row rightly lacks a column: made for another row, or impossible against it."""
    entries = board.by_column.get(column, ())
    return column not in row.entries and (
        _of_another_row(entries) or _impossible(board, row, column, informed)
    )


def _of_another_row(entries: Sequence[Entry]) -> bool:
    """Whether all are submitted points: they were made for one row and say nothing of another."""
    return all(entry.facts and entry.facts.given for entry in entries)


def _impossible(board: Board, row: Row, column: str, informed: bool) -> bool:
    """Whether the attack cannot be against the row, and not merely for want of a file.

    Of attacks that know the whole defense that counts only where the row is `informed`: else it
    would look as if it stood against what nobody tried.
    """
    pair = (row.asked, column)
    if pair not in board.skips or pair in board.absent:
        return False
    entries = board.by_column.get(column, ())
    return informed or not any(entry.facts and entry.facts.knows == "all" for entry in entries)


def _informed(row: Row, ready: Mapping[str, Entry]) -> bool:
    """Whether an attack that knows the row was measured there; of a bare classifier: its gradient.

    Submitted points do not count: what they were made with is not known.
    """
    enough = ("all", "mixed", "blind") if row.kind == BARE else ("all", "mixed")
    said = [entry.facts for entry in ready.values() if entry.facts]
    return any(facts.knows in enough and not facts.given for facts in said)
