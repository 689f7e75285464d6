"""What stands on a board: rows, columns, and their figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from bench.boards.metrics import Measured, Spent, accuracy, cost
from bench.facts import About, Facts
from bench.results.store import Record
from bench.spec import NO_PURIFIER
from bench.stats import Figure, Floats, Ints, mean_interval
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
