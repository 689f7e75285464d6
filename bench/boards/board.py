"""What stands on a board: rows, columns, their figures, and which of them may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from bench.boards.metrics import Measured, Spent, accuracy, cost, worst_case
from bench.facts import About, Facts
from bench.results.store import Record
from bench.spec import NO_ATTACK, NO_PURIFIER
from bench.stats import (
    Comparison,
    Figure,
    Floats,
    Ints,
    compare_all,
    differences,
    mean_figures,
    mean_interval,
)
from bench.threat import Threat

CLEAN = "none"
CORRUPTION = "corruption"
DEFENSE, CONTROL, BARE = "defense", "control", "bare classifier"


@dataclass(frozen=True, eq=False)
class Entry:
    """One (row, column): a measurement per seed, or the reason why there is no number.

    Everything after `complete` is only of a complete entry. facts: what the attack says of itself;
    None where no plan holds it.
    """

    defense: str
    attack: str
    threat: str
    settings: str
    seeds: Mapping[int, Measured]
    gap: str = ""
    facts: Facts | None = None
    missing: ClassVar[tuple[str, ...]] = ()

    @property
    def complete(self) -> bool:
        """Every seed that was asked for is measured on every image."""
        return not self.gap

    @cached_property
    def by_seed(self) -> dict[int, Floats]:
        """Per-image mean correctness [N] of each seed."""
        return {seed: accuracy(measured) for seed, measured in self.seeds.items()}

    @cached_property
    def values(self) -> Floats:
        """Per-image mean correctness [N], averaged over seeds."""
        return mean_over(self.by_seed.values())

    @cached_property
    def figure(self) -> Figure:
        """The mean with its interval over images."""
        return mean_interval(self.values, self.block)

    @property
    def any(self) -> Measured:
        """The measurement of the first seed."""
        return next(iter(self.seeds.values()))

    @property
    def index(self) -> Ints:
        """The images [N]."""
        return self.any.index

    @property
    def block(self) -> Ints:
        """The block of every image [N]."""
        return self.any.block

    @property
    def records(self) -> list[Record]:
        """The records of all seeds."""
        return [record for measured in self.seeds.values() for record in measured.records]

    @cached_property
    def cost(self) -> Spent:
        """What it cost per image, averaged over seeds."""
        return cost(list(self.seeds.values()))


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


@dataclass(frozen=True, eq=False)
class Row:
    """One defense with one setting, under whatever labels it was typed.

    asked: the first of them; label: unique on the board.
    """

    label: str
    asked: str
    settings: str
    control: bool
    entries: Mapping[str, Entry]

    @property
    def classifier(self) -> str:
        """The classifier behind the purifiers, with its settings."""
        return self.settings.partition("@")[2]

    @property
    def kind(self) -> str:
        """A classifier without a purifier, a cheap control, or a defense."""
        if self.control:
            return CONTROL
        return BARE if self.asked.partition("@")[0] == NO_PURIFIER else DEFENSE

    def complete(self, threat: str = "") -> dict[str, Entry]:
        """The columns that have a number, of one threat or of all."""
        return {name: e for name, e in self.numbers.items() if threat in ("", e.threat)}

    @cached_property
    def numbers(self) -> dict[str, Entry]:
        """The columns that have a number."""
        return {name: entry for name, entry in self.entries.items() if entry.complete}

    @cached_property
    def weights(self) -> dict[str, frozenset[str]]:
        """The sha256, or several, of every weight file behind its numbers, by name."""
        return all_weights(self.numbers.values())

    @property
    def records(self) -> list[Record]:
        """The records behind all of its numbers."""
        return [record for entry in self.complete().values() for record in entry.records]


@dataclass(frozen=True, eq=False)
class Board:
    """One group of plans, measured. skips: (defense as asked, attack) -> reason; absent: those of
    them that only lacked a file where they were planned.

    without: a group of attacks (`Plan.group`) that is left out, so that rows which were not given
    it are compared too; the board with its columns is another one. about: kind of plug-in -> name
    -> what it is in words.
    """

    dataset: str
    subset: str
    threat: str
    preset: str
    images: int
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    skips: Mapping[tuple[str, str], str]
    commands: tuple[str, ...]
    without: str = ""
    about: Mapping[str, Mapping[str, About]] = field(default_factory=dict)
    absent: frozenset[tuple[str, str]] = frozenset()

    @property
    def budget(self) -> str:
        """`preset standard`, and what is left out."""
        return f"preset {self.preset}" + (f", {self.group}" if self.group else "")

    @property
    def group(self) -> str:
        """Which attacks are left out, `without strict`; empty where all are there."""
        return f"without {self.without}" if self.without else ""

    @property
    def place(self) -> str:
        """What all its numbers have in common, besides the data set."""
        return f"subset {self.subset}, {self.threat}, {self.budget}, {self.images} images"

    @property
    def measured(self) -> int:
        """How many (row, column) have a number."""
        return sum(len(row.complete()) for row in self.rows)

    @cached_property
    def by_column(self) -> dict[str, list[Entry]]:
        """What stands in each column, from the first row down."""
        found: dict[str, list[Entry]] = {}
        for row in self.rows:
            for name, entry in row.entries.items():
                found.setdefault(name, []).append(entry)
        return found

    def threat_of(self, column: str) -> str:
        """The threat of a column; empty where no row has it."""
        return next((entry.threat for entry in self.by_column.get(column, ())), "")

    def blank(self, row: Row, column: str) -> str:
        """Why (row, column) shows no number; empty when it shows one."""
        entry = row.entries.get(column)
        if entry is not None:
            return entry.gap
        return self.skips.get((row.asked, column), "no run asked for it")


def aside(threat: str) -> bool:
    """Whether a threat is no part of a worst case: its columns stand aside, shown last."""
    return threat != CLEAN and not Threat.parse(threat).is_ball


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
    missing = _missing(board, row, ready)
    return Worst(values, first.block, first.index, board.threat, share, missing)


def deviation(item: Item) -> float | None:
    """Standard deviation of the mean over seeds, apart from the image interval; None for one."""
    if len(item.by_seed) < 2:
        return None
    return float(np.std([values.mean() for values in item.by_seed.values()], ddof=1))


def paired(pairs: Sequence[tuple[Item, Item]]) -> list[Comparison | None]:
    """Each a minus b over the seeds that both have, or None where the two may not be compared.

    Those on the same blocks are tested at once.
    """
    found: list[Comparison | None] = [None] * len(pairs)
    both = {n: values for n, (a, b) in enumerate(pairs) if (values := _both(a, b))}
    for places in by_block({n: pairs[n][0] for n in both}):
        tests = compare_all([both[n] for n in places], pairs[places[0]][0].block)
        for n, test in zip(places, tests, strict=True):
            found[n] = test
    return found


def work_out(items: Iterable[Item]) -> None:
    """The figures of many items, those on the same blocks at once."""
    waiting = dict(enumerate(item for item in items if "figure" not in vars(item)))
    for places in by_block(waiting):
        some = [waiting[n] for n in places]
        figures = mean_figures([item.values for item in some], some[0].block)
        for item, figure in zip(some, figures, strict=True):
            vars(item)["figure"] = figure  # where the cached property looks for it


def by_block(items: Mapping[int, Item]) -> Iterable[list[int]]:
    """The keys of items, together where the images stand in the same blocks."""
    found: dict[bytes, list[int]] = {}
    for n, item in items.items():
        found.setdefault(item.block.tobytes(), []).append(n)
    return found.values()


def apart(pairs: Sequence[tuple[Item, Item]]) -> list[Figure | None]:
    """The differences of `paired` alone, without a test."""
    found: list[Figure | None] = [None] * len(pairs)
    both = {n: values for n, (a, b) in enumerate(pairs) if (values := _both(a, b))}
    for places in by_block({n: pairs[n][0] for n in both}):
        gaps = differences([both[n] for n in places], pairs[places[0]][0].block)
        for n, gap in zip(places, gaps, strict=True):
            found[n] = gap
    return found


def _both(a: Item, b: Item) -> tuple[Floats, Floats] | None:
    """The values of both over the seeds that both have, if on the same images."""
    common = sorted(set(a.by_seed) & set(b.by_seed))
    if not common or not np.array_equal(a.index, b.index):
        return None
    return _over(a, common), _over(b, common)


def _over(item: Item, seeds: list[int]) -> Floats:
    """Its values over some seeds, in their order."""
    if list(item.by_seed) == seeds:
        return item.values
    return mean_over(item.by_seed[seed] for seed in seeds)


def mixed_weights(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Names of weights that occur with more than one sha256 among complete entries."""
    return tuple(sorted(name for name, found in all_weights(entries).items() if len(found) > 1))


def all_weights(entries: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """Every sha256 of the weights of each name among complete entries."""
    seen: dict[str, set[str]] = {}
    for entry in entries:
        for measured in entry.seeds.values():
            for name, sha in measured.weights.items():
                seen.setdefault(name, set()).add(sha)
    return {name: frozenset(found) for name, found in seen.items()}


def mean_over(arrays: Iterable[Floats]) -> Floats:
    """The mean of arrays of one shape (over seeds)."""
    several = list(arrays)
    if len(several) == 1:
        return np.asarray(several[0], dtype=np.float64)
    mean: Floats = np.mean(np.stack(several), axis=0, dtype=np.float64)
    return mean


def _missing(board: Board, row: Row, ready: Mapping[str, Entry]) -> tuple[str, ...]:
    """Columns of the board that a worst case must cover and that no entry of `ready` stands for.

    A row that fewer attacks were asked of would otherwise look stronger than the rest, and so would
    one that was measured where an attack's files were not, and one against which no attack that
    knows it is left, since those that were asked for cannot be. Submitted points were made for one
    row and say nothing of another.
    """
    settings = {entry.settings for entry in ready.values()}
    knowing = ("all", "mixed", "blind") if row.kind == BARE else ("all", "mixed")
    said = [entry.facts for entry in ready.values() if entry.facts]
    informed = any(facts.knows in knowing and not facts.given for facts in said)
    missing = []
    for name in board.columns:
        entries = board.by_column.get(name, ())
        others = all(entry.facts and entry.facts.given for entry in entries)
        cannot = (row.asked, name) in board.skips.keys() - board.absent
        if cannot and not informed and any(e.facts and e.facts.knows == "all" for e in entries):
            cannot = False  # it would look as if it stood against what nobody tried
        excused = name not in row.entries and (others or cannot)
        if excused or not any(entry.threat in (CLEAN, board.threat) for entry in entries):
            continue
        if name not in ready and not {entry.settings for entry in entries} <= settings:
            missing.append(name)
    if not any(entry.threat == CLEAN for entry in ready.values()):
        missing = list(dict.fromkeys([NO_ATTACK, *missing]))
    return tuple(missing)
