"""Which board, rows and columns a picture is of, from what was typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.boards.analysis import WORST
from bench.boards.board import Board, Row
from bench.errors import BenchError, unknown
from bench.spec import DefenseSpec, Part, Value, number, parse_defense, parse_part, split_list

MOST = 12
"""Series of one picture: more cannot be told apart."""


@dataclass(frozen=True)
class Choice:
    """What was typed; empty texts and zero take what the boards have."""

    defenses: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    threat: str = ""
    preset: str = ""
    subset: str = ""
    images: int = 0


def sections(boards: Sequence[Board], choice: Choice) -> list[Board]:
    """The boards of the threat, preset, subset and number of images that were typed."""
    if not boards:
        return []
    asked = {
        "threat": choice.threat,
        "preset": choice.preset,
        "subset": choice.subset,
        "images": str(choice.images or ""),
    }
    left = list(boards)
    for key, value in asked.items():
        if not value:
            continue
        found = [board for board in left if str(getattr(board, key)) == value]
        if not found:
            known = {str(getattr(board, key)) for board in left}
            raise unknown(f"{key} on the boards of {left[0].dataset}", value, known)
        left = found
    return left


def rows_of(rows: Iterable[Row], typed: Sequence[str]) -> list[Row]:
    """The rows that were typed, in the order of `rows`; all of them where nothing was.

    A name stands for its own row, else for every row with these settings among its own.
    """
    rows = list(rows)
    names = split_list(typed)
    if not names:
        return rows
    found: list[Row] = []
    for name in names:
        wanted = parse_defense(name)
        own = [row for row in rows if name == row.label or str(wanted) in (row.label, row.asked)]
        found += own or [row for row in rows if matches(wanted, parse_defense(row.settings))]
    return [row for row in rows if row in found]


def columns_of(board: Board, typed: Sequence[str], usual: Callable[[str], bool]) -> list[str]:
    """The columns that were typed, WORST (`worst`) included, or those that are usual."""
    every = [*board.columns, WORST]
    names = split_list(typed)
    if not names:
        return [column for column in every if usual(column)]
    chosen: list[str] = []
    for name in names:
        if name in ("worst", WORST):
            chosen.append(WORST)
            continue
        wanted = parse_part(name)
        own = [column for column in board.columns if column == name]
        chosen += own or [c for c in board.columns if _part_matches(wanted, _resolved(board, c))]
    return [column for column in every if column in chosen]


def require_rows(boards: Sequence[Board], typed: Sequence[str]) -> None:
    """Refuse a defense that is on none of the boards, with the nearest, and an empty name."""
    _require_some("defense", typed, "adp")
    labels = {row.label for board in boards for row in board.rows}
    for name in split_list(typed):
        if not any(rows_of(board.rows, [name]) for board in boards):
            raise unknown("row", str(parse_defense(name)), labels)


def require_columns(boards: Sequence[Board], typed: Sequence[str]) -> None:
    """Refuse an attack that is on none of the boards, with the nearest, and an empty name."""
    _require_some("attack", typed, "bpda")
    known = {column for board in boards for column in board.columns}
    for name in split_list(typed):
        if not any(columns_of(board, [name], lambda _: False) for board in boards):
            raise unknown("column", name, {*known, "worst"})


def _require_some(kind: str, typed: Sequence[str], such_as: str) -> None:
    if typed and not split_list(typed):
        raise BenchError(f"name at least one {kind}: --{kind} {such_as}; without it, all are drawn")


def matches(typed: DefenseSpec, resolved: DefenseSpec) -> bool:
    """Whether a resolved defense has these parts, with these settings among its own."""
    if len(typed.parts) != len(resolved.parts):
        return False
    wanted_parts = (*typed.parts, typed.classifier)
    pairs = zip(wanted_parts, (*resolved.parts, resolved.classifier), strict=True)
    return all(_part_matches(wanted, found) for wanted, found in pairs)


def place(board: Board) -> str:
    """The conditions of every number on a board, for a caption."""
    shared = f"subset {board.subset}, {board.threat}, {board.budget}"
    return f"{board.dataset}, {shared}, n = {board.images} images"


def _part_matches(wanted: Part, found: Part | None) -> bool:
    if found is None or wanted.name != found.name:
        return False
    own = dict(found.settings)
    return all(key in own and same(value, own[key]) for key, value in wanted.settings)


def same(a: Value, b: Value) -> bool:
    """Whether two texts are one value: `8/255` is `0.03137...`."""
    try:
        return number(a) == number(b)
    except (ValueError, ZeroDivisionError):
        return str(a).lower() == str(b).lower()


def _resolved(board: Board, column: str) -> Part | None:
    """The attack of a column with all its settings, as any row has it."""
    found = (row.entries[column].settings for row in board.rows if column in row.entries)
    text = next(found, "")
    return parse_part(text.partition("; ")[0]) if text else None
