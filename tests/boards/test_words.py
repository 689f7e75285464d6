"""What a board knows in words of the plug-ins behind its rows and columns."""

from __future__ import annotations

from pathlib import Path

from bench.boards.gather import boards
from bench.boards.words import gathered, of_classifier, of_column, of_row
from bench.facts import About
from tests.factories import cell, fill, measure, one_board, plan, row_of, verdicts

ADP = About("Steps.", "Yoon et al. 2021", "https://arxiv.org/abs/2106.06041")
TOLD = {
    "defense": {"adp": ADP, "jpeg": About("JPEG.")},
    "classifier": {"natural": About("Bare.")},
    "attack": {"square": About("Squares.", "Somebody 2020")},
}


def test_one_plan_tells_of_every_board_of_a_data_set(tmp_path: Path) -> None:
    store = fill(tmp_path)
    board = one_board(store)
    assert of_row(board, row_of(board, "adp@natural")) == {}
    item = measure(store, cell("jpeg+adp:sigma=0.1@natural", "square"), verdicts([0.5] * 64))
    store.write_plan(plan([item], preset="standard", about=TOLD))
    for board in boards(store, "patches"):
        for row in board.rows:
            names = [name for name in ("jpeg", "adp") if name in row.label]
            assert of_row(board, row) == {name: TOLD["defense"][name] for name in names}
            assert of_classifier(board, row) == About("Bare.")
        assert of_column(board, "square:queries=100") == About("Squares.", "Somebody 2020")
        assert of_column(board, "bpda") is None
        assert of_column(board, "<b>") is None


def test_a_plan_without_a_paper_takes_none_away() -> None:
    older = plan([], about={"defense": {"adp": About("Older.")}})
    newer = plan([], about={"defense": {"adp": ADP}})
    for plans in ((older, newer), (newer, older)):
        assert gathered(plans) == {"defense": {"adp": ADP}}
