"""The answer of a board in words: every figure in it is one of the board's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.boards.analysis import Analysis, analyse, percent
from bench.boards.answer import answer
from bench.boards.gather import boards
from bench.boards.pairs import paired
from bench.facts import Facts
from bench.results.store import Store
from tests.factories import cell, fill, measure, one_board, plan, verdicts


def measured(root: Path, rows: dict[str, dict[str, float]], images: int = 256) -> Analysis:
    """A board of defenses with these accuracies by attack; `*` marks a control."""
    store, asked = Store(root), []
    for name, shares in rows.items():
        for attack, share in shares.items():
            bits = verdicts([share] * images)
            where = cell(name.strip("*"), attack)
            asked.append(measure(store, where, bits, control=name.endswith("*")))
    told = {"bpda": Facts("all", "bpda"), "pgd-exact": Facts("all", "exact")}
    made = replace(plan(asked, images=images), attacks=told)
    store.write_plan(made)
    return analyse(one_board(store))


def test_it_names_the_best_row_and_what_cannot_be_told_apart(tmp_path: Path) -> None:
    rows = {
        "none@madry": {"clean": 0.9, "bpda": 0.6},
        "adp@natural": {"clean": 0.95, "bpda": 0.58},
        "none@natural": {"clean": 1.0, "bpda": 0.0},
    }
    analysis = measured(tmp_path, rows)
    best, purifier = answer(analysis)
    name = max(analysis.worst, key=lambda label: analysis.worst[label].values.mean())
    figure = analysis.worst[name].figure
    assert best.startswith(
        f"Best of 3 rows: {name}, {percent(figure.value)} [{percent(figure.low)}"
    )
    (other,) = {"none@madry", "adp@natural"} - {name}
    assert f"; {other} cannot be told apart" in best
    (test,) = paired([(analysis.worst["adp@natural"], analysis.worst["none@madry"])])
    assert test is not None
    gap = percent(test.difference.value, sign=True)
    assert re.search(
        re.escape(f"; {gap} [") + r"[^]]*\] against none@madry, the best bare", purifier
    )
    assert "control" not in purifier


def test_a_purifier_stands_beside_the_best_control(tmp_path: Path) -> None:
    rows = {
        "adp@natural": {"clean": 0.95, "bpda": 0.5},
        "none@natural": {"clean": 1.0, "bpda": 0.0},
        "jpeg@natural*": {"clean": 0.9, "bpda": 0.1},
        "wiener@natural*": {"clean": 0.9, "bpda": 0.3},
    }
    (_, purifier) = answer(measured(tmp_path, rows))
    assert re.search(r"\+[0-9.]+ \[\+[^]]*\] against wiener@natural, the best control;", purifier)
    assert "jpeg" not in purifier


def test_what_falls_from_bpda_to_the_worst_case_is_said(tmp_path: Path) -> None:
    rows = {
        "adp@natural": {"clean": 0.95, "bpda": 0.9, "pgd-exact": 0.1},
        "gdmp@natural": {"clean": 0.95, "bpda": 0.6, "pgd-exact": 0.55},
        "none@natural": {"clean": 1.0, "bpda": 0.9, "pgd-exact": 0.0},
    }
    analysis = measured(tmp_path, rows)
    said = answer(analysis)[-1]
    after = percent(analysis.worst["adp@natural"].figure.value)
    before = percent(analysis.board.rows[0].entries["bpda"].figure.value)
    assert said.startswith("BPDA overstates: ")
    assert f"adp@natural {before} under bpda, {after} in the worst case." in said
    assert "gdmp" not in said
    assert "none@natural" not in said


@pytest.mark.parametrize("left", ["adp@natural/square", "adp@natural/bpda"])
def test_an_upper_bound_is_no_answer(tmp_path: Path, left: str) -> None:
    found = boards(fill(tmp_path, leave_out=(left,)), "patches")
    assert not any("adp@natural" in line for line in answer(analyse(found[0])))


def test_nothing_measured_says_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    item = measure(store, cell("adp@natural", "clean"), verdicts([1.0] * 64))
    store.write_plan(plan([item], images=64))
    assert answer(analyse(one_board(store))) == ()


def test_rows_that_may_not_be_compared_are_neither_equal_nor_measured_against(
    tmp_path: Path,
) -> None:
    """Other seeds: a difference over the seeds of both would not be that of the figures shown."""
    store, asked = Store(tmp_path), []
    for name, shares in {"adp@natural": (0.9, 0.2), "none@natural": (0.45,)}.items():
        for seed, share in enumerate(shares):
            for attack, value in (("clean", 1.0), ("bpda", share)):
                item = measure(store, cell(name, attack, seed=seed), verdicts([value] * 256))
                asked.append(item)
    store.write_plan(plan(asked, images=256))
    best, purifier = answer(analyse(one_board(store)))
    assert "cannot be told apart" not in best
    assert best.endswith("; not compared with none@natural.")
    assert purifier.endswith("not compared with none@natural, the best bare classifier.")


def test_one_row_is_no_best(tmp_path: Path) -> None:
    analysis = measured(tmp_path, {"none@natural": {"clean": 1.0, "bpda": 0.5}})
    (line,) = answer(analysis)
    assert line.startswith("One row: none@natural, ")
