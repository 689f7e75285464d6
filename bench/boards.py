"""From plans and records to boards: which numbers stand in one table, and which may be compared.

Plans of one data set are grouped by (subset, threat, preset, images). Plans of a group merge: rows
and columns are their union. Rows of different groups never share a comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.archive import Source
from bench.metrics import Gap, Measured, accuracy, assemble, worst_case
from bench.results import Plan, Planned, Record
from bench.stats import Comparison, Figure, Floats, Ints, compare, mean_interval

CLEAN = "none"
CORRUPTION = "corruption"


@dataclass(frozen=True, eq=False)
class Entry:
    """One (row, column): a measurement per seed, or the reason why there is no number."""

    defense: str
    attack: str
    threat: str
    settings: str
    seeds: Mapping[int, Measured]
    gap: str = ""

    @property
    def complete(self) -> bool:
        """Every seed that was asked for is measured on every image."""
        return not self.gap

    @property
    def values(self) -> Floats:
        """Per-image mean correctness [N], averaged over seeds; only of a complete entry."""
        return mean_over(accuracy(measured) for measured in self.seeds.values())

    @property
    def any(self) -> Measured:
        """The measurement of the first seed."""
        return next(iter(self.seeds.values()))


@dataclass(frozen=True, eq=False)
class Worst:
    """The worst case of one row: per-image correctness by seed, over which attacks.

    share: attack -> part of the images for which it was the worst. missing: attacks that were
    asked for and are incomplete: the figure is then an upper bound and is not compared.
    """

    seeds: Mapping[int, Floats]
    block: Ints
    index: Ints
    share: Mapping[str, float]
    missing: tuple[str, ...]

    @property
    def values(self) -> Floats:
        """Per-image correctness [N], averaged over seeds."""
        return mean_over(self.seeds.values())


@dataclass(frozen=True, eq=False)
class Row:
    """One defense with one setting. asked: its typed label; label: unique on the board."""

    label: str
    asked: str
    settings: str
    control: bool
    entries: Mapping[str, Entry]

    def complete(self) -> dict[str, Entry]:
        """The columns that have a number."""
        return {name: entry for name, entry in self.entries.items() if entry.complete}


@dataclass(frozen=True, eq=False)
class Board:
    """One group of plans, measured. skips: (defense as asked, attack) -> reason."""

    dataset: str
    subset: str
    threat: str
    preset: str
    images: int
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    skips: Mapping[tuple[str, str], str]
    commands: tuple[str, ...]

    @property
    def measured(self) -> int:
        """How many (row, column) have a number."""
        return sum(len(row.complete()) for row in self.rows)

    def blank(self, row: Row, column: str) -> str:
        """Why (row, column) shows no number; empty when it shows one."""
        entry = row.entries.get(column)
        if entry is not None:
            return entry.gap
        return self.skips.get((row.asked, column), "no run asked for it")


def boards(source: Source, dataset: str, preset: str = "") -> list[Board]:
    """Every board of a data set, the fullest first.

    Raises:
        BenchError: a damaged or foreign file, named.
    """
    plans = [p for p in source.plans(dataset) if not preset or p.preset == preset]
    wanted = {planned.cell.digest for plan in plans for planned in plan.cells}
    found: dict[str, list[Record]] = {}
    for record in source.records(dataset):
        digest = record.cell.digest
        if digest in wanted:
            found.setdefault(digest, []).append(record)
    groups: dict[tuple[str, str, str, int], list[Plan]] = {}
    for plan in plans:
        groups.setdefault((plan.subset, plan.threat, plan.preset, plan.images), []).append(plan)
    made = [_board(group, found) for _, group in sorted(groups.items())]
    return sorted(made, key=lambda board: (-board.measured, -board.images))


def worst(board: Board, row: Row) -> Worst | None:
    """The worst case over clean and the board's threat, or None without a complete attack."""
    covered = (CLEAN, board.threat)
    asked = {name: e for name, e in row.entries.items() if e.threat in covered}
    ready = {name: entry for name, entry in asked.items() if entry.complete}
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
    missing = tuple(name for name in asked if name not in ready)
    return Worst(values, first.block, first.index, share, missing)


def figure(item: Entry | Worst) -> Figure:
    """The mean of an entry or a worst case, with its interval over images."""
    block = item.block if isinstance(item, Worst) else item.any.block
    return mean_interval(item.values, block)


def deviation(item: Entry | Worst) -> float | None:
    """Standard deviation of the mean over seeds, apart from the image interval; None for one."""
    if len(item.seeds) < 2:
        return None
    per_seed = [v if not isinstance(v, Measured) else accuracy(v) for v in item.seeds.values()]
    return float(np.std([values.mean() for values in per_seed], ddof=1))


def paired(a: Entry | Worst, b: Entry | Worst) -> Comparison | None:
    """a minus b over the seeds that both have, or None where the two may not be compared."""
    index_a, index_b = (x.index if isinstance(x, Worst) else x.any.index for x in (a, b))
    common = sorted(set(a.seeds) & set(b.seeds))
    if not common or not np.array_equal(index_a, index_b):
        return None
    block = a.block if isinstance(a, Worst) else a.any.block
    values = [
        mean_over(v if not isinstance(v, Measured) else accuracy(v) for v in chosen)
        for chosen in ([item.seeds[seed] for seed in common] for item in (a, b))
    ]
    return compare(values[0], values[1], block)


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


def _board(plans: list[Plan], found: Mapping[str, list[Record]]) -> Board:
    plans = sorted(plans, key=lambda plan: (-len(plan.cells), plan.to_json()))
    head = plans[0]
    planned = [item for plan in plans for item in plan.cells]
    settings = dict.fromkeys((item.defense, item.cell.defense) for item in planned)
    labels = [label for label, _ in settings]
    rows = [
        Row(
            label=asked if labels.count(asked) == 1 else f"{asked} [{resolved}]",
            asked=asked,
            settings=resolved,
            control=any(i.control for i in planned if i.cell.defense == resolved),
            entries=_entries(
                [i for i in planned if (i.defense, i.cell.defense) == (asked, resolved)],
                head.shards,
                found,
            ),
        )
        for asked, resolved in settings
    ]
    columns = dict.fromkeys(item.attack for item in planned)
    skips = {(s.defense, s.attack): s.reason for plan in reversed(plans) for s in plan.skips}
    columns |= dict.fromkeys(attack for _, attack in skips)
    kinds = {
        item.attack: (item.cell.threat == CORRUPTION) - (item.cell.threat == CLEAN)
        for item in planned
    }
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
    )


def _entries(
    planned: list[Planned], shards: int, found: Mapping[str, list[Record]]
) -> dict[str, Entry]:
    attacks = dict.fromkeys(item.attack for item in planned)
    return {a: _entry([i for i in planned if i.attack == a], shards, found) for a in attacks}


def _entry(planned: list[Planned], shards: int, found: Mapping[str, list[Record]]) -> Entry:
    """One column of one row: a cell per seed, the newest plug-in versions where plans differ."""
    newest = max(_versions(item) for item in planned)
    current = {item.cell: None for item in planned if _versions(item) == newest}
    head = planned[0]
    settings = sorted({cell.attack for cell in current})
    seeds: dict[int, Measured] = {}
    gaps: list[str] = []
    if len({cell.seed for cell in current}) < len(current):
        gaps.append(f"{len(current)} different settings under one name; run them by their settings")
    for cell in sorted(current, key=lambda cell: cell.seed):
        result = assemble(cell, shards, found.get(cell.digest, ()))
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


def _versions(planned: Planned) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", planned.cell.versions)))
