"""From plans and records to boards: which numbers stand in one table, and which may be compared.

Plans of one data set are grouped by (subset, threat, preset, images). Plans of a group merge: rows
and columns are their union. Rows of different groups never share a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from bench.boards.metrics import (
    Gap,
    Measured,
    Spent,
    accuracy,
    assemble,
    cost,
    worst_case,
)
from bench.facts import Facts
from bench.results.archive import Results
from bench.results.store import (
    Cell,
    Plan,
    Planned,
    Record,
)
from bench.spec import NO_ATTACK, NO_PURIFIER
from bench.stats import Comparison, Figure, Floats, Ints, compare, mean_interval

CLEAN = "none"
CORRUPTION = "corruption"
CERTIFIED = "certified"
KNOWN = "known:"
PROBE = "probe:"
FLOW = "flow:"
ASIDE = (CORRUPTION, CERTIFIED, FLOW, KNOWN, PROBE)
"""Threats outside of any ball, or a diagnostic within one: shown last, never in a worst case."""
DEFENSE, CONTROL, BARE = "defense", "control", "bare classifier"
AMOUNT = {"paper": 0, "standard": 1, "quick": 2}
"""Presets in the order in which their boards are worth reading."""


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
        there = {name: entry for name, entry in self.entries.items() if entry.complete}
        return {name: e for name, e in there.items() if threat in ("", e.threat)}

    @property
    def records(self) -> list[Record]:
        """The records behind all of its numbers."""
        return [record for entry in self.complete().values() for record in entry.records]


@dataclass(frozen=True, eq=False)
class Board:
    """One group of plans, measured. skips: (defense as asked, attack) -> reason.

    group: as in `Plan`. Who was attacked so hard is compared with others who were, and does not
    turn the worst case of all others into a bound.
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
    group: str = ""

    @property
    def budget(self) -> str:
        """`preset standard`, and which group of attacks it was given to where that has a name."""
        return f"preset {self.preset}" + (f", attacks {self.group}" if self.group else "")

    @property
    def place(self) -> str:
        """What all its numbers have in common, besides the data set."""
        return f"subset {self.subset}, {self.threat}, {self.budget}, {self.images} images"

    @property
    def measured(self) -> int:
        """How many (row, column) have a number."""
        return sum(len(row.complete()) for row in self.rows)

    def threat_of(self, column: str) -> str:
        """The threat of a column; empty where no row has it."""
        found = (row.entries[column].threat for row in self.rows if column in row.entries)
        return next(found, "")

    def blank(self, row: Row, column: str) -> str:
        """Why (row, column) shows no number; empty when it shows one."""
        entry = row.entries.get(column)
        if entry is not None:
            return entry.gap
        return self.skips.get((row.asked, column), "no run asked for it")


def boards(source: Results, dataset: str, preset: str = "") -> list[Board]:
    """Every board of a data set: larger presets first, then the one of most measured images."""
    plans = [p for p in source.plans(dataset) if not preset or p.preset == preset]
    wanted = {planned.cell.digest for plan in plans for planned in plan.cells}
    found: dict[str, list[Record]] = {}
    for record in source.records(dataset):
        digest = record.cell.digest
        if digest in wanted:
            found.setdefault(digest, []).append(record)
    groups: dict[tuple[str, str, str, int, str], list[Plan]] = {}
    for plan in plans:
        key = (plan.subset, plan.threat, plan.preset, plan.images, plan.group)
        groups.setdefault(key, []).append(plan)
    made = [_board(group, found) for _, group in sorted(groups.items())]
    return sorted(made, key=_worth)


def _worth(board: Board) -> tuple[bool, int, int]:
    """What is worth reading first comes first; a board without a number comes last."""
    return not board.measured, AMOUNT.get(board.preset, 0), -board.measured * board.images


def aside(threat: str) -> bool:
    """Whether a threat is no part of a worst case: its columns stand aside."""
    return threat.startswith(ASIDE)


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


def paired(a: Item, b: Item) -> Comparison | None:
    """a minus b over the seeds that both have, or None where the two may not be compared."""
    common = sorted(set(a.by_seed) & set(b.by_seed))
    if not common or not np.array_equal(a.index, b.index):
        return None
    first, second = (mean_over(item.by_seed[seed] for seed in common) for item in (a, b))
    return compare(first, second, a.block)


def mixed_weights(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Names of weights that occur with more than one sha256 among complete entries."""
    seen: dict[str, set[str]] = {}
    for entry in entries:
        for measured in entry.seeds.values():
            for name, sha in measured.weights.items():
                seen.setdefault(name, set()).add(sha)
    return tuple(sorted(name for name, shas in seen.items() if len(shas) > 1))


def mean_over(arrays: Iterable[Floats]) -> Floats:
    """The mean of arrays of one shape (over seeds)."""
    mean: Floats = np.mean(np.stack(list(arrays)), axis=0, dtype=np.float64)
    return mean


def _missing(board: Board, row: Row, ready: Mapping[str, Entry]) -> tuple[str, ...]:
    """Columns of the board that a worst case must cover and that no entry of `ready` stands for.

    A row that fewer attacks were asked of would otherwise look stronger than the rest. Submitted
    points were made for one row and say nothing of another.
    """
    settings = {entry.settings for entry in ready.values()}
    missing = []
    for name in board.columns:
        entries = [other.entries[name] for other in board.rows if name in other.entries]
        others = all(entry.facts and entry.facts.given for entry in entries)
        excused = name not in row.entries and (others or (row.asked, name) in board.skips)
        if excused or not any(entry.threat in (CLEAN, board.threat) for entry in entries):
            continue
        if name not in ready and not {entry.settings for entry in entries} <= settings:
            missing.append(name)
    if not any(entry.threat == CLEAN for entry in ready.values()):
        missing = list(dict.fromkeys([NO_ATTACK, *missing]))
    return tuple(missing)


def _board(plans: list[Plan], found: Mapping[str, list[Record]]) -> Board:
    plans = sorted(plans, key=lambda plan: (-len(plan.cells), plan.to_json()))
    head = plans[0]
    planned = [item for plan in plans for item in plan.cells]
    newest, facts = _newest(planned), _facts(plans)
    defenses: dict[str, list[Planned]] = {}
    for item in planned:
        defenses.setdefault(item.cell.defense, []).append(item)
    labels = [items[0].defense for items in defenses.values()]
    rows = [
        Row(
            label=asked if labels.count(asked) == 1 else f"{asked} [{resolved}]",
            asked=asked,
            settings=resolved,
            control=any(item.control for item in items),
            entries=_entries(items, head.images, found, newest, facts),
        )
        for asked, (resolved, items) in zip(labels, defenses.items(), strict=True)
    ]
    columns = dict.fromkeys(item.attack for item in planned)
    skips = {(s.defense, s.attack): s.reason for plan in reversed(plans) for s in plan.skips}
    columns |= dict.fromkeys(attack for _, attack in skips)
    kinds = {item.attack: aside(item.cell.threat) - (item.cell.threat == CLEAN) for item in planned}
    return Board(
        dataset=head.dataset,
        subset=head.subset,
        threat=head.threat,
        preset=head.preset,
        images=head.images,
        rows=tuple(rows),
        columns=tuple(sorted(columns, key=lambda name: kinds.get(name, 0))),
        skips=skips,
        commands=tuple(dict.fromkeys(plan.command for plan in plans if plan.command)),
        group=head.group,
    )


def _entries(
    planned: list[Planned],
    images: int,
    found: Mapping[str, list[Record]],
    newest: Mapping[str, int],
    facts: Mapping[str, Facts],
) -> dict[str, Entry]:
    columns: dict[str, list[Planned]] = {}
    for item in planned:
        columns.setdefault(item.attack, []).append(item)
    entries = {name: _entry(items, images, found, newest) for name, items in columns.items()}
    return {n: replace(entry, facts=facts.get(entry.settings)) for n, entry in entries.items()}


def _entry(
    planned: list[Planned],
    images: int,
    found: Mapping[str, list[Record]],
    newest: Mapping[str, int],
) -> Entry:
    """One column of one row: a cell per seed, of the newest plug-in versions only."""
    current = {item.cell: None for item in planned if not _outdated(item.cell, newest)}
    head = planned[0]
    settings = sorted({cell.attack for cell in current or [item.cell for item in planned]})
    seeds: dict[int, Measured] = {}
    gaps: list[str] = []
    if not current:
        older = ", ".join(_outdated(head.cell, newest))
        gaps.append(f"measured with an older version of {older}; run it again")
    if len({cell.seed for cell in current}) < len(current):
        gaps.append(f"{len(current)} different settings under one name; run them by their settings")
    for cell in sorted(current, key=lambda cell: cell.seed):
        result = assemble(cell, images, found.get(cell.digest, ()))
        if isinstance(result, Gap):
            several = len(current) > 1
            gaps.append(f"seed {cell.seed}: {result.reason}" if several else result.reason)
        else:
            seeds[cell.seed] = result
    base = Entry(head.defense, head.attack, head.cell.threat, "; ".join(settings), seeds)
    if not gaps and mixed_weights([base]):
        gaps.append("seeds were measured with different weights; run it again")
    if gaps:
        return Entry(base.defense, base.attack, base.threat, base.settings, {}, "; ".join(gaps))
    return base


def _facts(plans: Iterable[Plan]) -> dict[str, Facts]:
    """What each resolved attack says of itself; where two plans say two things, nothing holds."""
    found: dict[str, Facts] = {}
    for text, facts in (pair for plan in plans for pair in plan.attacks.items()):
        if found.setdefault(text, facts) != facts:
            found[text] = Facts()
    return found


def _newest(planned: Iterable[Planned]) -> dict[str, int]:
    """The highest version of every plug-in that a board's cells name."""
    newest: dict[str, int] = {}
    for item in planned:
        for name, version in item.cell.plugins().items():
            newest[name] = max(version, newest.get(name, version))
    return newest


def _outdated(cell: Cell, newest: Mapping[str, int]) -> list[str]:
    """Plug-ins of which the board holds a newer version: numbers of the two are not compared."""
    return [name for name, version in cell.plugins().items() if version < newest[name]]
