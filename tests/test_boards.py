"""Which plans make one board."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.analysis import BoardSpec, analyse, tidy
from bench.boards import STRICT_SEARCHES, Worst, boards
from bench.results import Store
from bench.tables import document
from tests.factories import cell, fill, plan, planned, records, verdicts

SPEC = BoardSpec("patches")


def ask(store: Store, attacks: tuple[str, ...]) -> None:
    """Measure attacks on one row of the board, and store the plan that asked for them."""
    items = [planned(cell("adp@natural", attack)) for attack in ("clean", *attacks)]
    for item in items[1:]:
        for record in records(item.cell, verdicts([0.1] * 64, draws=4)):
            store.write(item, record)
    store.write_plan(plan(items, command="bench run --attacks strict"))


def test_who_was_attacked_strictly_has_a_board_and_makes_no_other_row_a_bound(
    tmp_path: Path,
) -> None:
    store = fill(tmp_path)
    before = {row: worst.values.mean() for row, worst in worsts(store)[0].items()}
    ask(store, STRICT_SEARCHES)
    found = {board.group: board for board in boards(store, "patches")}
    assert set(found) == {"", "strict"}
    plain, strict = (analyse(found[group]) for group in ("", "strict"))
    assert {row: worst.values.mean() for row, worst in plain.worst.items()} == before
    assert not any(worst.missing for worst in plain.worst.values())
    assert [row.label for row in found["strict"].rows] == ["adp@natural"]
    assert strict.worst["adp@natural"].values.mean() < before["adp@natural"]
    heads = [block.heading for block in document(list(found.values()), SPEC, "patches").blocks]
    assert sum("preset quick, attacks strict, 64 images" in head for head in heads) == 1
    lines = tidy(list(found.values()), SPEC, "patches")
    assert {line["group"] for line in lines if "protocol=strict" in line["attack"]} == {"strict"}


@pytest.mark.parametrize("name", STRICT_SEARCHES)
def test_one_strict_search_is_a_column_like_others(tmp_path: Path, name: str) -> None:
    store = fill(tmp_path)
    ask(store, (name,))
    (board,) = boards(store, "patches")
    assert (board.group, name in board.columns) == ("", True)
    assert analyse(board).worst["none@natural"].missing == (name,)


def worsts(store: Store) -> list[dict[str, Worst]]:
    """The worst cases of each board by row."""
    return [dict(analyse(board).worst) for board in boards(store, "patches")]
