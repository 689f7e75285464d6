"""Ranks say what the images can tell apart, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.boards.analysis import WORST, Analysis, analyse
from bench.boards.compare import versus
from bench.boards.gather import boards
from bench.boards.ranking import Rank, ranked
from bench.boards.spec import BoardSpec
from bench.boards.tidy import tidy
from bench.report.boards import document
from bench.report.tables import Table
from bench.results.store import Store
from tests.factories import cell, fill, measure, one_board, plan

N = 128


def analysed(root: Path, right: Mapping[str, int], **weights: str) -> Analysis:
    """A board of one attack: of N independent images, each row has its first `right` right.

    weights: row -> sha256 of its network, where it is another one.
    """
    store, asked = Store(root), []
    for defense, count in right.items():
        sha = weights.get(defense.partition("@")[0], "a" * 64)
        for attack in ("clean", "bpda"):
            bits = (np.arange(N) < (N if attack == "clean" else count)).reshape(1, 1, N)
            item = measure(store, cell(defense, attack), bits, weights={"natural": sha})
            asked.append(item)
    store.write_plan(plan(asked, images=N))
    board = one_board(store)
    return analyse(board)


def test_rows_that_are_not_told_apart_share_their_ranks(tmp_path: Path) -> None:
    found = analysed(tmp_path, {"adp@natural": 60, "jpeg@natural": 58, "bits@natural": 10})
    assert found.rank == {
        "adp@natural": Rank(1, 2),
        "jpeg@natural": Rank(1, 2),
        "bits@natural": Rank(3, 3),
    }
    assert [str(rank) for rank in found.rank.values()] == ["1-2", "1-2", "3"]


def test_overlapping_ranks_are_no_strict_groups(tmp_path: Path) -> None:
    # b is 5 discordant images from a and from c (p .06 each), a and c are 10 apart (p .002).
    found = analysed(tmp_path, {"a@natural": 60, "b@natural": 55, "c@natural": 50})
    assert list(map(str, found.rank.values())) == ["1-2", "1-3", "2-3"]


def test_holm_is_over_every_pair_of_the_board(tmp_path: Path) -> None:
    # 7 discordant images: p = 2 / 2^7 = .016, times one pair below .05, times six above.
    two = analysed(tmp_path / "2", {"a@natural": 60, "b@natural": 53})
    assert list(map(str, two.rank.values())) == ["1", "2"]
    more = {"a@natural": 60, "b@natural": 53, "c@natural": 53, "d@natural": 53}
    four = analysed(tmp_path / "4", more)
    assert set(map(str, four.rank.values())) == {"1-4"}


def test_other_weights_leave_a_rank_open(tmp_path: Path) -> None:
    rows = {"a@natural": 60, "b@natural": 10, "c@natural": 100}
    found = analysed(tmp_path, rows, b="b" * 64)
    assert list(map(str, found.rank.values())) == ["2-3", "1-3", "1-2"]


def test_an_attack_of_one_name_and_other_settings_leaves_a_rank_open(tmp_path: Path) -> None:
    """As after a release that changed a default: the label of the column is still the same."""
    store, asked = Store(tmp_path), []
    rows = {"a@natural": (100, ""), "b@natural": (10, ":steps=40"), "jpeg@natural": (60, "")}
    for defense, (count, settings) in rows.items():
        for attack, right in (("clean", N), (f"bpda{settings}", count)):
            bits = (np.arange(N) < right).reshape(1, 1, N)
            item = measure(store, cell(defense, attack), bits, control=defense == "jpeg@natural")
            asked.append(replace(item, attack=attack.partition(":")[0]))
    store.write_plan(plan(asked, images=N))
    found = boards(store, "patches")
    analysis = analyse(found[0])
    assert {row: str(rank) for row, rank in analysis.rank.items()} == {
        **{"a@natural": "1-2", "b@natural": "1-3", "jpeg@natural": "2-3"}
    }
    assert set(analysis.against) == {
        *(("a@natural", column) for column in ("clean", "bpda", WORST)),
        ("b@natural", "clean"),
    }
    (section,) = versus(found, ("a", "b"))
    assert [line.column for line in section.lines] == ["clean"]
    assert section.barred[WORST] == "other settings of bpda"
    text = str(document(found, BoardSpec("a board"), "patches"))
    assert "Not the same settings for every row: bpda" in text


def test_a_row_stands_within_its_own_ranks(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path))
    analysis = analyse(board)
    for place, row in enumerate(ranked(board, analysis.worst), start=1):
        assert analysis.rank[row.label].first <= place <= analysis.rank[row.label].last


def test_an_upper_bound_has_no_rank_and_takes_none(tmp_path: Path) -> None:
    store = fill(tmp_path, leave_out=("adp@natural/square",))
    board = one_board(store)
    analysis = analyse(board)
    assert set(analysis.rank) == {"none@natural", "wiener@natural", "jpeg@natural"}
    assert max(rank.last for rank in analysis.rank.values()) == 3


@pytest.mark.parametrize("defense", ["adp@natural", "none@natural"])
def test_the_board_and_the_csv_print_the_rank(tmp_path: Path, defense: str) -> None:
    found = boards(fill(tmp_path), "patches")
    rank = str(analyse(found[0]).rank[defense])
    table = document(found, BoardSpec("a board"), "patches").blocks[0]
    assert isinstance(table, Table)
    assert table.header[:3] == ("rank", "defense", "classifier")
    assert [row[0] for row in table.rows if "@".join(row[1:3]) == defense] == [rank]
    rows = tidy(found, BoardSpec("a board"), "patches")
    shown = [row for row in rows if row["defense"] == defense and row["rank"]]
    assert [(row["attack"], row["metric"], row["rank"]) for row in shown] == [
        (WORST, "accuracy", rank)
    ]
