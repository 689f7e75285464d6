"""From plans and records to boards: which numbers stand in one table.

Plans of one data set are grouped by (subset, threat, preset, images). Plans of a group merge: rows
and columns are their union. Rows of different groups never share a comparison.

Where only some rows were attacked by a group of attacks as expensive as `strict`, the worst case of
the others is an upper bound on that board. What all of them have in common is compared on a second
board, without that group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from bench.boards.board import CLEAN, DEFENSE, Board, Entry, Row, aside, mixed_weights
from bench.boards.metrics import Gap, Measured, assemble
from bench.boards.words import gathered
from bench.facts import Facts
from bench.results.archive import Results
from bench.results.store import Cell, Plan, Planned, Record

ENOUGH = 64
"""Images of which a board is an answer; on fewer, intervals say nothing."""
AMOUNT = {"paper": 0, "standard": 1, "quick": 2}
"""Presets in the order in which their boards are worth reading."""


def boards(source: Results, dataset: str, preset: str = "") -> list[Board]:
    """Every board of a data set, the one first that answers most (`_worth`)."""
    every = source.plans(dataset)
    told = gathered(every)
    plans = [plan for plan in every if not preset or plan.preset == preset]
    wanted = {planned.cell.digest for plan in plans for planned in plan.cells}
    found: dict[str, list[Record]] = {}
    for record in source.records(dataset):
        digest = record.cell.digest
        if digest in wanted:
            found.setdefault(digest, []).append(record)
    groups: dict[tuple[str, str, str, int], list[Plan]] = {}
    for plan in plans:
        key = (plan.subset, plan.threat, plan.preset, plan.images)
        groups.setdefault(key, []).append(plan)
    made = [
        (replace(_board(some, found), about=told, without=without), not without and _mostly(group))
        for _, group in sorted(groups.items())
        for without, some in _parts(group)
    ]
    return [board for board, _ in sorted(made, key=lambda item: _worth(*item))]


def _parts(plans: list[Plan]) -> Iterator[tuple[str, list[Plan]]]:
    """All plans of a board; then without a group of attacks that not all rows were given."""
    yield "", plans
    for group in dict.fromkeys(plan.group for plan in plans if plan.group):
        others = [plan for plan in plans if plan.group != group]
        given = {item.cell.defense for p in plans if p.group == group for item in p.cells}
        if any(item.cell.defense not in given for plan in others for item in plan.cells):
            yield group, [_only(plan, others) for plan in plans]


def _only(plan: Plan, others: Iterable[Plan]) -> Plan:
    """What of a plan is of attacks that other plans ask for too."""
    attacks = {item.cell.attack for other in others for item in other.cells}
    names = {item.attack for other in others for item in other.cells}
    names |= {skip.attack for other in others for skip in other.skips}
    cells = tuple(item for item in plan.cells if item.cell.attack in attacks)
    return replace(plan, cells=cells, skips=tuple(s for s in plan.skips if s.attack in names))


def _mostly(plans: list[Plan]) -> bool:
    """Whether a group of attacks as expensive as `strict` was asked for most of the rows."""
    given = {item.cell.defense for plan in plans if plan.group for item in plan.cells}
    return 2 * len(given) > len({item.cell.defense for plan in plans for item in plan.cells})


def _worth(board: Board, strict: bool) -> tuple[bool, int, bool, bool, bool, int, int]:
    """What is worth reading first: larger presets, all attacks, `ENOUGH` images, most defenses.

    strict: most rows were attacked harder (`_mostly`), which goes before more rows or images. Among
    boards of as many defenses, the one of most measured images; a board without a number comes
    last.
    """
    defenses = sum(bool(row.kind == DEFENSE and row.complete(board.threat)) for row in board.rows)
    return (
        not board.measured,
        AMOUNT.get(board.preset, 0),
        bool(board.without),
        board.images < ENOUGH,
        not strict,
        -defenses,
        -board.measured * board.images,
    )


def _board(plans: list[Plan], found: Mapping[str, list[Record]]) -> Board:
    if len(plans) > 1:
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
        absent=frozenset((s.defense, s.attack) for plan in plans for s in plan.skips if s.absent),
        commands=tuple(dict.fromkeys(plan.command for plan in plans if plan.command)),
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
