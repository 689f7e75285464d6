"""How a data set's document opens: the answer, eight columns, other boards folded."""

from __future__ import annotations

from pathlib import Path

from bench.boards.analysis import analyse, percent
from bench.boards.answer import answer
from bench.boards.gather import boards
from bench.boards.spec import BoardSpec
from bench.boards.tidy import tidy
from bench.facts import About
from bench.report.boards import SUMMARY, document
from bench.report.tables import Fold, Linked, Listing, Table
from tests.factories import cell, fill, measure, one_board, plan, verdicts

SPEC = BoardSpec("a board")


def test_without_results_one_line_says_what_to_run() -> None:
    shown = document([], SPEC, "digits")
    line = "bench run --defense adp --attacks all --dataset digits"
    assert shown.flat == (
        Table("digits", SUMMARY, (), major=True),
        Listing("Nothing is measured yet; run", (line,), commands=True),
    )
    (row,) = tidy([], SPEC, "digits")
    assert row["measured"] == ""
    assert line in row["note"]


def test_a_board_opens_with_its_answer_and_eight_columns(tmp_path: Path) -> None:
    board = one_board(fill(tmp_path, images=256))
    analysis = analyse(board)
    opening = document([board], SPEC, "patches").flat[0]
    assert isinstance(opening, Table)
    assert opening.header == SUMMARY
    assert opening.lead == answer(analysis)
    assert len(SUMMARY) == 8
    shown = {"@".join(row[1:3]).replace(" (control)", ""): row for row in opening.rows}
    for row in board.rows:
        line = shown[row.label]
        assert (" (control)" in line[1]) == row.control
        assert line[4].startswith(percent(analysis.worst[row.label].figure.value))
        figures = {name: e.figure.value for name, e in row.complete(board.threat).items()}
        strongest, value = line[5].rsplit(" ", 1)
        assert figures[strongest] == min(figures.values())
        assert value == percent(figures[strongest])


def test_other_boards_are_folded_without_their_controls(tmp_path: Path) -> None:
    store = fill(tmp_path)
    item = measure(store, cell("gdmp@natural", "bpda", threat="l2:1"), verdicts([0.5] * 64))
    store.write_plan(plan([item], threat="l2:1"))
    found = boards(store, "patches")
    shown = document(found, SPEC, "patches")
    (fold,) = (block for block in shown.blocks if isinstance(block, Fold))
    (table,) = fold.blocks
    assert "l2:1" in table.heading
    assert "(control)" not in str(table)
    assert table in shown.flat


def test_a_purifier_is_named_with_its_paper(tmp_path: Path) -> None:
    told = {
        "adp": About("Steps.", "Yoon et al. 2021", "https://arxiv.org/abs/2106.06041"),
        "aid": About("Signs.", "Hwang et al. 2021"),
        "wiener": About("A filter."),
    }
    store = fill(tmp_path)
    item = measure(store, cell("adp+aid@natural", "bpda"), verdicts([0.5] * 64))
    store.write_plan(plan([item], about={"defense": told}))
    opening = document([one_board(store)], SPEC, "patches").flat[0]
    assert isinstance(opening, Table)
    shown = {cell for row in opening.rows for cell in row[1:2]}
    assert shown == {
        "adp (Yoon et al. 2021)",
        "adp+aid (Yoon et al. 2021; Hwang et al. 2021)",
        "wiener (control)",
        "jpeg (control)",
        "none",
    }
    links = {part for cell in shown if isinstance(cell, Linked) for part in cell.parts if part[1]}
    assert links == {("Yoon et al. 2021", "https://arxiv.org/abs/2106.06041")}
