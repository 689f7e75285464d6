"""Rows and columns of boards that differ in one setting, as a chart of accuracy against it.

Every number is one of a board, with its interval. What is on one line shares everything else:
images, threat, preset, the other settings of defense and attack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.boards.analysis import WORST, Analysis, analyse
from bench.boards.board import CLEAN, Board, Row, aside
from bench.boards.ranking import differing_weights
from bench.boards.worst import Item, Worst
from bench.errors import BenchError, nearest, unknown
from bench.report.charts.curves import BARS, HOLLOW
from bench.report.charts.selection import (
    MOST,
    Choice,
    columns_of,
    place,
    require_columns,
    require_rows,
    rows_of,
    sections,
)
from bench.report.charts.suggest import (
    EPS,
    OWNERS,
    USUAL,
    Owner,
    Setting,
    numeric,
    run_line,
    settings_of,
    without,
)
from bench.report.figures.data import Axis, Chart, Panel, Point, Series
from bench.spec import DefenseSpec, parse_defense, parse_part
from bench.threat import Threat

ALIAS = {"lambda": "lambdas"}
UNITS = {"sigma": "pixels in [0,1]", "eps": "pixels in [0,1]", "lambdas": "weight of the purifier"}
LOG_FROM = 15
"""A largest setting so many times the smallest is drawn on a logarithmic axis."""

Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """A number of a board at one value of the setting. where: the conditions in its caption."""

    value: float
    item: Item
    label: str
    where: str
    board: Board
    row: Row
    column: str


Lines = dict[Key, list[Reading]]


def sweep(boards: Sequence[Board], over: str, choice: Choice, dataset: str) -> Chart:
    """Accuracy against the setting `over` (`steps`, or `defense:steps` where several have it)."""
    owner, key = _asked(over)
    found = sections(boards, choice)
    require_rows(found, choice.defenses)
    require_columns(found, choice.attacks)
    analyses = [analyse(board, compared=False) for board in found]
    lines = {
        each: _several(_collect(each, key, analyses, choice))
        for each in ([owner] if owner else OWNERS)
    }
    lines = {each: some for each, some in lines.items() if some}
    if len(lines) > 1:
        names = " or ".join(f"--over {each}:{key}" for each in lines)
        raise BenchError(f"'{key}' varies in several things that are stored: {names}")
    if not lines:
        raise BenchError(_nothing(found, owner, key, choice, dataset))
    ((whose, some),) = lines.items()
    return _chart(whose, key, _of_first_board(some))


def _asked(over: str) -> tuple[str, str]:
    owner, colon, key = over.rpartition(":")
    if colon and owner not in OWNERS:
        raise unknown("owner of a setting", owner, OWNERS)
    key = ALIAS.get(key, key)
    if not key:
        raise BenchError("--over needs the name of a setting, such as --over steps")
    return owner, key


def _collect(owner: str, key: str, analyses: Sequence[Analysis], choice: Choice) -> Lines:
    """Every number that has a value of the setting, by all that is fixed on its line."""
    lines: Lines = {}
    if owner == "threat" and key != EPS:
        return lines
    for analysis in analyses:
        for identity, found in _numbers(owner, key, analysis, choice):
            lines.setdefault(identity, []).append(found)
    return lines


def _numbers(
    owner: str, key: str, analysis: Analysis, choice: Choice
) -> Iterator[tuple[Key, Reading]]:
    board = analysis.board

    def usual(column: str) -> bool:
        if owner == "attack":
            return column != WORST
        return column == WORST or (owner == "defense" and board.threat_of(column) == CLEAN)

    for row in rows_of(board.rows, choice.defenses):
        for column in columns_of(board, choice.attacks, usual):
            item = analysis.item(row, column)
            if item is None or aside(item.threat):
                continue
            split = _SPLIT[owner](key, board, row, column, item)
            if split is None:
                continue
            value, identity, label = split
            yield identity, Reading(value, item, label, place(board), board, row, column)


def _by_defense(
    key: str, board: Board, row: Row, column: str, item: Item
) -> tuple[float, Key, str] | None:
    spec = parse_defense(row.settings)
    for n, part in enumerate(spec.parts):
        value = numeric(part, key)
        if value is not None:
            parts = (*spec.parts[:n], without(part, key), *spec.parts[n + 1 :])
            rest = str(DefenseSpec(parts, spec.classifier))
            label = f"{_typed_without(row.asked, key)}, {column}"
            return (
                value,
                (*_conditions(board), board.threat, rest, *_under(column, item, row)),
                label,
            )
    return None


def _by_attack(
    key: str, board: Board, row: Row, column: str, item: Item
) -> tuple[float, Key, str] | None:
    if isinstance(item, Worst):
        return None
    part = parse_part(item.settings)
    value = numeric(part, key)
    if value is None:
        return None
    rest = str(without(part, key))
    label = f"{row.label}, {without(parse_part(column), key)}"
    return value, (*_conditions(board), board.threat, row.settings, rest), label


def _by_threat(
    key: str, board: Board, row: Row, column: str, item: Item
) -> tuple[float, Key, str] | None:
    if item.threat != board.threat:
        return None
    threat = Threat.parse(board.threat)
    fixed = (*_conditions(board), threat.norm, row.settings, *_under(column, item, row))
    return threat.eps, fixed, f"{row.label}, {column}"


_SPLIT = {"defense": _by_defense, "attack": _by_attack, "threat": _by_threat}


def _conditions(board: Board) -> Key:
    return (board.subset, board.budget, str(board.images))


def _under(column: str, item: Item, row: Row) -> Key:
    """Which attacks a number is under: a worst case over other ones is on another line."""
    if isinstance(item, Worst):
        return (column, *sorted(row.numbers[name].settings for name in item.share))
    return (column, item.settings)


def _several(lines: Lines) -> Lines:
    """Those that differ in the setting; of one value twice, the first counts.

    Numbers of different weights are on no line together: those of the first stay.
    """
    kept: Lines = {}
    for key, found in lines.items():
        first = found[0]
        one: dict[float, Reading] = {}
        for each in found:
            if each.row is first.row or not differing_weights(first.row, each.row):
                one.setdefault(each.value, each)
        if len(one) > 1:
            kept[key] = [one[value] for value in sorted(one)]
    return kept


def _of_first_board(lines: Lines) -> list[list[Reading]]:
    """The lines that belong to the board (to the family of boards) of the first one."""
    head, *_ = lines
    shared = head[:3]
    return [found for key, found in lines.items() if key[:3] == shared]


def _chart(owner: str, key: str, lines: Sequence[Sequence[Reading]]) -> Chart:
    left_out = f" {MOST} of {len(lines)} lines." if len(lines) > MOST else ""
    lines = lines[:MOST]
    labels = [min((each.label for each in found), key=len) for found in lines]
    clean = [found[0].item.threat == CLEAN for found in lines]
    # Clean accuracy has the colour of its row's one other line.
    rows = [found[0].row.settings for found, apart in zip(lines, clean, strict=True) if not apart]
    paired = owner == "defense" and len(set(rows)) == len(rows)
    series = tuple(
        Series(
            label if labels.count(label) == 1 else f"{label} ({n})",
            tuple(_point(each) for each in found),
            aside=apart,
            same=found[0].row.settings if paired else "",
        )
        for n, (label, found, apart) in enumerate(zip(labels, lines, clean, strict=True), 1)
    )
    said = "; ".join(dict.fromkeys(found[0].where for found in lines))
    if owner == "threat":
        head = lines[0][0].board
        said = place(head).replace(f", {head.threat}", "")
    bound = any(p.bound for s in series for p in s.points)
    said += f".{left_out} {BARS}{HOLLOW if bound else ''}"
    return Chart((Panel("", series),), _axis(owner, key, lines), "accuracy (%)", said)


def _point(found: Reading) -> Point:
    return Point(found.value, found.item.figure, bound=bool(found.item.missing))


def _axis(owner: str, key: str, lines: Sequence[Sequence[Reading]]) -> Axis:
    values = sorted({each.value for found in lines for each in found})
    log = values[0] > 0 and values[-1] / values[0] >= LOG_FROM
    first = lines[0][0]
    if owner == "threat":
        norm = Threat.parse(first.board.threat).norm
        threats = [Threat.parse(each.board.threat) for found in lines for each in found]
        ticks = {threat.eps: threat.radius for threat in threats}
        return Axis(f"eps of the attack, {norm} (pixels in [0,1])", log, tuple(ticks.items()))
    if owner == "defense":
        names = {_owning(each.row, key) for found in lines for each in found}
        whose = names.pop() if len(names) == 1 else "the defense"
    else:
        names = {parse_part(each.column).name for found in lines for each in found}
        whose = names.pop() if len(names) == 1 else "the attack"
    unit = f" ({UNITS[key]})" if key in UNITS else ""
    return Axis(f"{key} of {whose}{unit}", log)


def _owning(row: Row, key: str) -> str:
    parts = parse_defense(row.settings).parts
    return next(part.name for part in parts if numeric(part, key) is not None)


def _typed_without(asked: str, key: str) -> str:
    spec = parse_defense(asked)
    return str(DefenseSpec(tuple(without(part, key) for part in spec.parts), spec.classifier))


def _nothing(boards: Sequence[Board], owner: str, key: str, choice: Choice, dataset: str) -> str:
    """Why there is no line, and what would make one."""
    known = settings_of(boards)
    owners: list[Owner] = [each for each in OWNERS if owner in ("", each)]
    hits: list[Setting] = [(each, key, *known[each][key]) for each in owners if key in known[each]]
    if key in USUAL and USUAL[key][0] in owners and not (hits and choice.defenses):
        hits = [hit for hit in hits if hit[0] == USUAL[key][0]] or [USUAL[key]]
    if not hits:
        names = dict.fromkeys(name for each in owners for name in known[each])
        return (
            f"no stored defense or attack on {dataset} has a number '{key}'{nearest(key, names)} "
            f"(numbers: {', '.join(names) or 'none'})"
        )
    line = run_line(hits[0], choice, dataset, boards)
    return f"nothing stored on {dataset} differs in '{key}' alone; run: {line}"
