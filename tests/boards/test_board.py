"""Which plans make one board, and which cells one row of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.boards.analysis import WORST, analyse
from bench.boards.gather import boards
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec
from bench.boards.tidy import tidy
from bench.boards.worst import Worst
from bench.report.boards import document
from bench.results.store import Skip, Store
from tests.factories import (
    CONTROLS,
    cell,
    change_records,
    fill,
    measure,
    one_board,
    plan,
    planned,
    row_of,
    verdicts,
)

SPEC = BoardSpec("patches")
SEARCHES = tuple(f"{name}:protocol=strict" for name in ("pgd", "apgd", "square"))


def ask(store: Store, attacks: tuple[str, ...], group: str = "") -> None:
    """Measure attacks on one row of the board, and store the plan that asked for them."""
    items = [measure(store, cell("adp@natural", a), verdicts([0.1] * 64, draws=4)) for a in attacks]
    asked = [planned(cell("adp@natural", "clean")), *items]
    store.write_plan(plan(asked, command="bench run --attacks strict", group=group))


def test_strict_attacks_are_columns_and_who_was_not_given_them_has_a_bound(tmp_path: Path) -> None:
    store = fill(tmp_path)
    before = {row: worst.values.mean() for row, worst in worsts(store)[0].items()}
    ask(store, SEARCHES, "strict")
    board, plain = boards(store, "patches")
    strict, common = analyse(board), analyse(plain)
    assert set(SEARCHES) < set(board.columns)
    assert not set(SEARCHES) & set(plain.columns)
    assert strict.worst["adp@natural"].values.mean() < before["adp@natural"]
    missing = {row: worst.missing for row, worst in strict.worst.items()}
    others = dict.fromkeys(before.keys() - {"adp@natural"}, SEARCHES)
    assert missing == {"adp@natural": (), **others}
    assert set(strict.rank) == {"adp@natural"}
    assert {row: worst.values.mean() for row, worst in common.worst.items()} == before
    assert not any(worst.missing for worst in common.worst.values())
    heads = [block.heading for block in document([board, plain], SPEC, "patches").flat]
    assert sum("preset quick, without strict, 64 images" in head for head in heads) == 1
    lines = tidy([board, plain], SPEC, "patches")
    assert {line["group"] for line in lines} == {"", "without strict"}
    assert {line["group"] for line in lines if "protocol=strict" in line["attack"]} == {""}


def test_rows_that_all_were_attacked_strictly_stand_on_one_board(tmp_path: Path) -> None:
    store = fill(tmp_path)
    items = [
        measure(store, cell(row.label, attack), verdicts([0.1] * 64))
        for row in one_board(store).rows
        for attack in SEARCHES
    ]
    store.write_plan(plan(items, group="strict"))
    board = one_board(store)
    assert not any(worst.missing for worst in analyse(board).worst.values())
    # A row that came later is compared with all of them by what all were given.
    later = measure(store, cell("gdmp@natural", "bpda"), verdicts([0.5] * 64))
    store.write_plan(plan([later]))
    strict, common = boards(store, "patches")
    assert len(strict.rows) == len(common.rows) == 5
    assert set(strict.columns) - set(common.columns) == set(SEARCHES)
    assert [row.label for row in strict.rows if analyse(strict).worst[row.label].missing] == [
        "gdmp@natural"
    ]


def test_strict_attacks_on_other_images_have_their_own_board(tmp_path: Path) -> None:
    store = fill(tmp_path)
    items = [measure(store, cell("adp@natural", a), verdicts([0.1] * 64)) for a in SEARCHES]
    store.write_plan(plan(items[:1], images=32, group="strict"))
    assert [(b.images, b.without) for b in boards(store, "patches")] == [(64, ""), (32, "")]


def test_a_board_that_was_attacked_harder_goes_before_more_rows_and_images(tmp_path: Path) -> None:
    store = fill(tmp_path)
    others = ("gdmp", "langevin", "denoise", "diffpure", "gradual")
    wide = [measure(store, cell(f"{n}@natural", "bpda"), verdicts([0.5] * 128)) for n in others]
    store.write_plan(plan(wide, images=128))
    assert [b.images for b in boards(store, "patches")] == [128, 64]
    rows = [row.label for row in boards(store, "patches")[1].rows]
    strict = [
        measure(store, cell(row, attack), verdicts([0.1] * 64))
        for row in rows
        for attack in SEARCHES
    ]
    store.write_plan(plan(strict[: len(SEARCHES)], group="strict"))
    assert next(b.images for b in boards(store, "patches")) == 128
    store.write_plan(plan(strict, group="strict"))
    assert [b.images for b in boards(store, "patches")] == [64, 128]


@pytest.mark.parametrize("name", SEARCHES)
def test_one_strict_search_is_a_column_like_others(tmp_path: Path, name: str) -> None:
    store = fill(tmp_path)
    ask(store, (name,))
    board = one_board(store)
    assert (board.without, name in board.columns) == ("", True)
    assert analyse(board).worst["none@natural"].missing == (name,)


def worsts(store: Store) -> list[dict[str, Worst]]:
    """The worst cases of each board by row."""
    return [dict(analyse(board).worst) for board in boards(store, "patches")]


def test_cells_of_different_weights_share_no_worst_case(tmp_path: Path) -> None:
    store = fill(tmp_path)
    change_records(store, planned(cell("adp@natural", "bpda")), weights={"natural": "b" * 64})
    board = one_board(store)
    analysis = analyse(board)
    assert "adp@natural" not in analysis.worst
    row = row_of(board, "adp@natural")
    assert "different weights of natural" in analysis.why_blank(row, WORST)
    # Nor is the row compared with controls that used the other weights.
    assert not [key for key in analysis.against if key[0] == "adp@natural"]


def test_mixed_weights_inside_a_cell_blank_it(tmp_path: Path) -> None:
    store = fill(tmp_path)
    change_records(store, planned(cell("adp@natural", "bpda")), 1, weights={"natural": "b" * 64})
    board = one_board(store)
    row = row_of(board, "adp@natural")
    assert "weights" in board.blank(row, "bpda")


def test_boards_of_other_presets_and_sizes_stand_apart_in_order(tmp_path: Path) -> None:
    store = fill(tmp_path)
    item = planned(cell("adp@natural", "bpda", 0))
    store.write_plan(plan([item], images=32))
    store.write_plan(plan([item], images=64, preset="standard"))
    found = boards(store, "patches")
    assert [(b.preset, b.images, len(b.rows)) for b in found] == [
        ("standard", 64, 1),
        ("quick", 64, 4),
        ("quick", 32, 1),
    ]
    assert [b.preset for b in boards(store, "patches", "standard")] == ["standard"]


def test_plans_of_one_group_merge_and_newer_plug_ins_win(tmp_path: Path) -> None:
    store = fill(tmp_path)
    newer = measure(store, cell("adp@natural", "bpda", versions="adp=2"), verdicts([0.0] * 64))
    store.write_plan(plan([newer, planned(cell("gdmp@natural", "bpda"))]))
    board = one_board(store)
    rows = {row.label: row for row in board.rows}
    assert {label.partition("@")[0] for label in rows} == {"adp", "none", "wiener", "jpeg", "gdmp"}
    assert rows["adp@natural"].entries["bpda"].figure.value == 0
    assert board.blank(rows["gdmp@natural"], "bpda") == "incomplete: 0 of 2 shards"
    assert board.blank(rows["gdmp@natural"], "square") == "no run asked for it"


def test_a_row_that_fewer_attacks_were_asked_of_has_only_an_upper_bound(tmp_path: Path) -> None:
    store = fill(tmp_path)
    easy = measure(store, cell("gdmp@natural", "bpda"), verdicts([1.0] * 64))
    store.write_plan(plan([easy]))
    board = one_board(store)
    analysis = analyse(board)
    assert analysis.worst["gdmp@natural"].missing == ("clean", "square")
    assert ranked(board, analysis.worst)[-1].label == "gdmp@natural"
    assert ("gdmp@natural", WORST) not in analysis.against
    # A skip has its reason, and an attack that was asked under another label is not missing.
    assert analysis.worst["none@natural"].missing == ()
    other = replace(planned(cell("jpeg@natural", "square")), attack="square:queries=100")
    store.write_plan(plan([other]))
    board = one_board(store)
    assert all(not analyse(board).worst[label].missing for label in CONTROLS)


@pytest.mark.parametrize("absent", [True, False])
def test_a_row_that_lacked_an_attacks_files_has_only_an_upper_bound(
    tmp_path: Path, absent: bool
) -> None:
    store = fill(tmp_path)
    asked = [
        measure(store, cell("gdmp@natural", attack), verdicts([1.0] * 64))
        for attack in ("clean", "bpda")
    ]
    skip = Skip("gdmp@natural", "square", "no weights 'twin'", absent=absent)
    store.write_plan(plan(asked, skips=[skip]))
    board = one_board(store)
    assert board.blank(row_of(board, "gdmp@natural"), "square") == "no weights 'twin'"
    analysis = analyse(board)
    assert analysis.worst["gdmp@natural"].missing == (("square",) if absent else ())
    assert ("gdmp@natural" in analysis.rank) != absent


@pytest.mark.parametrize(
    ("row", "known", "missing"),
    [
        ("gdmp@natural", "classifier-pgd", ("bpda",)),
        ("gdmp@natural", "square", ("bpda",)),
        ("gdmp@natural", "autoattack", ()),
        ("gdmp@natural", "apgd", ()),
        ("gdmp@natural", "submitted:file=a.npz", ("bpda",)),
        ("none@madry", "square", ("bpda",)),
        ("none@madry", "classifier-pgd", ()),
    ],
)
def test_a_row_that_nothing_attacked_which_knows_it_has_only_an_upper_bound(
    tmp_path: Path, row: str, known: str, missing: tuple[str, ...]
) -> None:
    """What was asked for cannot be against it; that is a reason for a blank, not for a rank."""
    store, asked = Store(tmp_path), []
    for defense, attacks in {
        row: ("clean", known),
        "adp@natural": ("clean", known, "bpda"),
    }.items():
        bits = verdicts([0.9] * 64)
        asked += [measure(store, cell(defense, attack), bits) for attack in attacks]
    store.write_plan(plan(asked, skips=[Skip(row, "bpda", "made up for the test")]))
    analysis = analyse(one_board(store))
    assert analysis.worst[row].missing == missing
    assert analysis.worst["adp@natural"].missing == ()
    assert (row in analysis.rank) == (not missing)


def test_a_classifier_is_no_version_of_a_purifier_of_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    versions = "judge=1,patches=1,{},{},bpda=1".format
    asked = [
        measure(store, cell(row, "bpda", versions=versions(*made)), verdicts([0.5] * 64))
        for row, made in {
            "none@jem": ("none=1", "jem=1"),
            "jem@jem": ("jem=2", "jem=1"),
            "jem:steps=2@jem": ("jem=1", "jem=1"),
        }.items()
    ]
    store.write_plan(plan(asked))
    board = one_board(store)
    why = [board.blank(row, "bpda") for row in board.rows]
    assert why == ["", "", "measured with an older version of jem; run it again"]


def test_rows_of_an_older_plug_in_are_not_compared_with_newer_ones(tmp_path: Path) -> None:
    store = fill(tmp_path)
    newer = measure(
        store, cell("adp@natural", "bpda", versions="judge=1,adp=1,bpda=2"), verdicts([0.5] * 64)
    )
    store.write_plan(plan([newer]))
    board = one_board(store)
    rows = {row.label: row for row in board.rows}
    assert not board.blank(rows["adp@natural"], "bpda")
    why = "measured with an older version of bpda; run it again"
    assert board.blank(rows["jpeg@natural"], "bpda") == why
    assert analyse(board).worst["jpeg@natural"].missing == ("bpda",)


def test_one_row_does_not_mix_versions_of_its_defense(tmp_path: Path) -> None:
    store = fill(tmp_path)
    newer = measure(
        store, cell("adp@natural", "bpda", versions="judge=1,adp=2,bpda=1"), verdicts([0.5] * 64)
    )
    store.write_plan(plan([newer]))
    board = one_board(store)
    row = row_of(board, "adp@natural")
    assert "older version of adp" in board.blank(row, "clean")


def test_one_label_with_two_settings_is_two_rows(tmp_path: Path) -> None:
    store = fill(tmp_path)
    other = replace(planned(cell("adp:sigma=0.2@natural", "bpda")), defense="adp@natural")
    store.write_plan(plan([other]))
    board = one_board(store)
    labels = [row.label for row in board.rows if row.asked == "adp@natural"]
    assert labels == ["adp@natural [adp@natural]", "adp@natural [adp:sigma=0.2@natural]"]


def test_one_setting_with_two_labels_is_one_row(tmp_path: Path) -> None:
    store = fill(tmp_path)
    store.write_plan(plan([replace(planned(cell("adp@natural", "bpda")), defense="adp:sigma=0.1")]))
    board = one_board(store)
    (row,) = [row for row in board.rows if row.settings == "adp@natural"]
    assert (row.label, analyse(board).worst[row.label].missing) == ("adp@natural", ())
