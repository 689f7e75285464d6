"""Two rows against each other: the right test, on the same images, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.boards.analysis import WORST
from bench.boards.board import Board
from bench.boards.compare import Versus, as_data, versus
from bench.boards.gather import boards
from bench.errors import BenchError
from bench.report.compared import as_document
from bench.report.tables import Listing, Table
from bench.results.store import Planned, Store
from bench.stats import holm, mcnemar
from tests.factories import cell, fill, plan, planned, records, verdicts

N = 64


def write(store: Store, item: Planned, right: np.ndarray, **more: Any) -> Planned:
    for record in records(item.cell, right.reshape(-1, N)[None], **more):
        store.write(item, record)
    return item


def compared(found: list[Board], first: str = "adp", second: str = "jpeg") -> Versus:
    (section,) = versus(found, (first, second))
    return section


def two_rows(root: Path) -> list[Board]:
    """bpda: 12 images that adp alone has right, 2 that jpeg alone has; clean: all right."""
    store, place = Store(root), np.arange(N)
    right = {"adp@natural": (place >= 2) & (place < 40), "jpeg@natural": (place < 28)}
    asked = []
    for defense, bpda in right.items():
        asked.append(write(store, planned(cell(defense, "clean")), np.ones(N, dtype=bool)))
        asked.append(write(store, planned(cell(defense, "bpda")), bpda))
    store.write_plan(plan(asked, images=N))
    return boards(store, "patches")


def test_single_verdicts_are_mcnemar_with_holm_over_the_columns(tmp_path: Path) -> None:
    lines = {line.column: line for line in compared(two_rows(tmp_path)).lines}
    assert set(lines) == {"clean", "bpda", WORST}
    test = lines["bpda"].test
    assert (test.images, test.gains, test.losses, test.test) == (N, 12, 2, "McNemar")
    assert test.difference.value == pytest.approx(10 / N)
    assert test.p == mcnemar(12, 2)
    p_values = [1.0, mcnemar(12, 2), mcnemar(12, 2)]
    assert [lines[c].adjusted for c in ("clean", "bpda", WORST)] == pytest.approx(holm(p_values))


def test_the_other_way_round_is_the_same_with_its_sign_turned(tmp_path: Path) -> None:
    found = two_rows(tmp_path)
    there, back = compared(found), compared(found, "jpeg", "adp")
    for a, b in zip(there.lines, back.lines, strict=True):
        assert a.test.difference.value == -b.test.difference.value
        assert (a.test.p, a.adjusted) == (b.test.p, b.adjusted)
        assert (a.test.gains, a.test.losses) == (b.test.losses, b.test.gains)


def test_several_draws_and_blocks_are_a_permutation(tmp_path: Path) -> None:
    section = compared(boards(fill(tmp_path), "patches"))
    line = next(line for line in section.lines if line.column == "bpda")
    assert (line.test.test, line.draws) == ("permutation", ("4", "1"))
    assert [line.column for line in section.lines][-1] == WORST


def test_every_section_with_both_rows_is_compared(tmp_path: Path) -> None:
    store = fill(tmp_path)
    asked = [
        write(store, planned(cell(defense, "bpda", subset="other")), np.ones(N, dtype=bool))
        for defense in ("adp@natural", "jpeg@natural")
    ]
    store.write_plan(plan(asked, images=N, subset="other"))
    alone = write(store, planned(cell("adp@natural", "bpda", threat="l2:1")), np.ones(N) > 0)
    store.write_plan(plan([alone], images=N, threat="l2:1"))
    found = versus(boards(store, "patches"), ("adp", "jpeg@natural"))
    assert {section.board.subset for section in found} == {"512", "other"}
    tables = [block for block in as_document(found).blocks if isinstance(block, Table)]
    assert {table.heading.split(",")[0] for table in tables} == {"subset 512", "subset other"}


def test_rows_of_no_common_section_are_not_compared_and_it_is_said_why(tmp_path: Path) -> None:
    store = fill(tmp_path)
    item = write(store, planned(cell("gdmp@natural", "bpda")), np.ones(N, dtype=bool))
    store.write_plan(plan([item], images=N, preset="standard"))
    with pytest.raises(BenchError, match=r"never compared.*adp is in .*quick.*gdmp.*standard"):
        versus(boards(store, "patches"), ("adp", "gdmp"))


def test_other_weights_are_one_line(tmp_path: Path) -> None:
    store = fill(tmp_path)
    item = planned(cell("gdmp@natural", "bpda"))
    write(store, item, np.ones(N, dtype=bool), weights={"natural": "b" * 64})
    store.write_plan(plan([item], images=N))
    section = compared(boards(store, "patches"), "adp", "gdmp")
    assert not section.lines
    (block,) = as_document([section]).blocks
    assert isinstance(block, Listing)
    assert block.lines == (
        "every column: measured with different weights of natural; run one again",
    )


def test_an_upper_bound_is_not_compared(tmp_path: Path) -> None:
    store = fill(tmp_path, leave_out=("adp@natural/square",))
    section = compared(boards(store, "patches"))
    assert section.barred["square"] == "adp@natural: incomplete: 0 of 2 shards"
    assert section.barred[WORST] == "adp@natural: an upper bound, not over square"
    assert {line.column for line in section.lines} == {"clean", "bpda", "corruption"}


def test_seeds_without_a_common_one_are_not_compared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = [
        write(store, planned(cell(name, "bpda", seed)), np.ones(N, dtype=bool))
        for seed, name in enumerate(("adp@natural", "jpeg@natural"))
    ]
    store.write_plan(plan(asked, images=N))
    section = compared(boards(store, "patches"))
    assert section.barred["bpda"] == "no seed, or not all images, in common"


def test_all_figures_of_a_line_are_over_the_common_seeds(tmp_path: Path) -> None:
    """adp has a second seed, in which nothing is right."""
    store, place = Store(tmp_path), np.arange(N)
    asked = [
        write(store, planned(cell(name, attack, seed)), (place < 32) & (seed == 0))
        for name, seeds in (("adp@natural", (0, 1)), ("jpeg@natural", (0,)))
        for attack in ("clean", "bpda")
        for seed in seeds
    ]
    store.write_plan(plan(asked, images=N))
    lines = compared(boards(store, "patches")).lines
    assert [line.column for line in lines] == ["clean", "bpda", WORST]
    for line in lines:
        assert (line.first, line.seeds) == (line.second, 1)
        assert (line.first.value, line.test.difference.value) == (0.5, 0.0)


def test_one_name_of_two_settings_is_ambiguous(tmp_path: Path) -> None:
    store = fill(tmp_path)
    other = cell("adp:steps=5@natural", "bpda")
    asked = Planned(cell=other, defense="adp@natural", attack="bpda")
    write(store, asked, np.ones(N, dtype=bool))
    store.write_plan(plan([asked], images=N, command="another"))
    found = boards(store, "patches")
    with pytest.raises(BenchError, match="'adp' is several rows; name one of"):
        versus(found, ("adp", "jpeg"))
    assert compared(found, "adp@natural [adp:steps=5@natural]").first.settings.startswith("adp:st")


def test_unknown_rows_and_the_same_row_twice(tmp_path: Path) -> None:
    found = boards(fill(tmp_path), "patches")
    with pytest.raises(BenchError, match="unknown row 'jpg@natural'; did you mean 'jpeg@natural'"):
        versus(found, ("adp", "jpg"))
    with pytest.raises(BenchError, match="are the same row"):
        versus(found, ("adp", "adp@natural"))


def test_json_and_the_table_are_the_same_numbers(tmp_path: Path) -> None:
    section = compared(boards(fill(tmp_path), "patches"))
    (data,) = as_data([section])
    table = as_document([section]).blocks[0]
    assert isinstance(table, Table)
    assert (data["first"], data["second"], data["images"]) == ("adp@natural", "jpeg@natural", N)
    for line, row in zip(data["columns"], table.rows, strict=True):
        assert row[0] == line["attack"]
        assert row[3].startswith(f"{line['difference']['value']:+.1f} [")
        assert row[6:9] == (str(line["first_better"]), str(line["second_better"]), str(N))


def test_verdicts_in_any_order_of_draws_count_the_same(tmp_path: Path) -> None:
    """Means of the same draws in another order are no discordant image."""
    store, bits = Store(tmp_path), verdicts([0.5] * N, draws=10)[0]
    asked = [
        write(store, planned(cell("adp@natural", "bpda")), bits),
        write(store, planned(cell("jpeg@natural", "bpda")), bits[::-1].copy()),
    ]
    store.write_plan(plan(asked, images=N))
    test = compared(boards(store, "patches")).lines[0].test
    assert (test.gains, test.losses, test.p) == (0, 0, 1.0)
