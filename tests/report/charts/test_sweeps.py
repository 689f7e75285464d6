"""Stored numbers that differ in one setting: which are on a line, and that they are the board's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.boards.analysis import WORST, analyse
from bench.errors import BenchError
from bench.report.charts.selection import Choice
from bench.report.charts.suggest import around
from bench.report.charts.sweeps import sweep
from bench.report.figures.data import Chart
from tests.report.figures.stored import IMAGES, read, store

STEPS = {5: 0.25, 20: 0.5, 10: 0.75}


def by_steps(root: Path) -> None:
    shares: dict[tuple[str, str], float] = {}
    for steps, share in STEPS.items():
        defense = f"adp:sigma=0.1,steps={steps}@natural"
        shares |= {(defense, "clean"): 1.0, (defense, "bpda:eot=1,step=0.1"): share}
    shares["adp:sigma=0.2,steps=10@natural", "bpda:eot=1,step=0.1"] = 0.1
    store(root, shares)


def lines(chart: Chart) -> dict[str, list[tuple[float, float]]]:
    (panel,) = chart.panels
    return {s.label: [(p.x, p.share.value) for p in s.points] for s in panel.series}


def test_a_line_is_what_differs_in_the_setting_alone(tmp_path: Path) -> None:
    by_steps(tmp_path)
    found = lines(sweep(read(tmp_path), "steps", Choice(attacks=("bpda",)), "patches"))
    # sigma=0.2 is on no line: nothing else of it is stored.
    assert list(found.values()) == [[(5.0, 0.25), (10.0, 0.75), (20.0, 0.5)]]
    (label,) = found
    assert label.startswith("adp:sigma=0.1@natural, bpda")


def test_every_number_is_the_boards_with_its_interval(tmp_path: Path) -> None:
    by_steps(tmp_path)
    boards = read(tmp_path)
    (board,) = boards
    chart = sweep(boards, "defense:steps", Choice(), "patches")
    analysis = analyse(board)
    series = {s.label.rpartition(", ")[2]: s for s in chart.panels[0].series}
    assert set(series) == {"clean", WORST}
    assert series["clean"].aside
    assert not series[WORST].aside
    for column, one in series.items():
        for point in one.points:
            (row,) = (r for r in board.rows if f"sigma=0.1,steps={point.x:g}@" in r.settings)
            item = analysis.item(row, column)
            assert item is not None
            assert point.share == item.figure
    assert f"n = {IMAGES} images" in chart.caption
    assert "linf:8/255" in chart.caption
    assert chart.axis.label == "steps of adp"


def test_a_setting_of_an_attack_is_a_line_for_each_row(tmp_path: Path) -> None:
    shares = {
        (defense, f"bpda:eot={eot},step=0.1"): share / eot
        for defense, share in (("adp:sigma=0.1@natural", 1.0), ("jpeg@natural", 0.5))
        for eot in (1, 2, 16)
    }
    store(tmp_path, shares)
    chart = sweep(read(tmp_path), "eot", Choice(), "patches")
    found = lines(chart)
    assert [[y for _, y in line] for line in found.values()] == [
        [1.0, 0.5, 0.0625],
        [0.5, 0.25, 0.03125],
    ]
    assert chart.axis.label == "eot of bpda"
    assert chart.axis.log
    one = sweep(read(tmp_path), "eot", Choice(defenses=("jpeg",)), "patches")
    assert list(lines(one)) == ["jpeg@natural, bpda:step=0.1"]


def test_more_lines_than_can_be_told_apart_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [f"jpeg:quality={quality}@natural" for quality in range(14)]
    store(tmp_path, {(row, f"bpda:eot={eot}"): 0.5 for row in rows for eot in (1, 2)})
    chart = sweep(read(tmp_path), "eot", Choice(), "patches")
    assert len(lines(chart)) == 12
    assert " 12 of 14 lines." in chart.caption


def test_balls_of_several_boards_are_a_line_over_eps(tmp_path: Path) -> None:
    for eps, share in (("0", 1.0), ("4/255", 0.5), ("8/255", 0.25)):
        both = {("adp@natural", "clean"): 1.0, ("adp@natural", "bpda:eot=1"): share}
        store(tmp_path, both, threat=f"linf:{eps}")
    store(tmp_path, {("adp@natural", "bpda:eot=1"): 0.9}, threat="l2:0.5")
    chart = sweep(read(tmp_path), "eps", Choice(), "patches")
    ((label, line),) = lines(chart).items()
    assert label == "adp@natural, worst case"
    assert line == [(0.0, 1.0), (4 / 255, 0.5), (8 / 255, 0.25)]
    assert [text for _, text in chart.axis.ticks] == ["0", "4/255", "8/255"]
    assert "linf" in chart.axis.label


def test_worst_cases_over_other_attacks_share_no_line(tmp_path: Path) -> None:
    for eps, attack in (("4/255", "bpda:eot=1"), ("8/255", "square:queries=9")):
        store(tmp_path, {("adp@natural", attack): 0.5}, threat=f"linf:{eps}")
    with pytest.raises(BenchError, match="nothing stored on patches differs in 'eps' alone"):
        sweep(read(tmp_path), "eps", Choice(), "patches")


def test_worst_cases_over_attacks_of_one_name_and_other_settings_share_no_line(
    tmp_path: Path,
) -> None:
    for steps, attack in ((5, "bpda:steps=40"), (10, "bpda:steps=40"), (20, "bpda:steps=100")):
        shares = {(f"adp:steps={steps}@natural", attack): STEPS[steps]}
        store(tmp_path, shares, typed={attack: "bpda"})
    chart = sweep(read(tmp_path), "defense:steps", Choice(attacks=("worst",)), "patches")
    assert [x for x, _ in next(iter(lines(chart).values()))] == [5.0, 10.0]


def test_an_upper_bound_says_so(tmp_path: Path) -> None:
    by_steps(tmp_path)
    store(tmp_path, {("adp:sigma=0.1,steps=5@natural", "spsa:samples=9"): 0.9})
    chart = sweep(read(tmp_path), "steps", Choice(attacks=("worst",)), "patches")
    # Worst cases over other attacks are apart; those that lack spsa are bounds.
    (series,) = chart.panels[0].series
    assert [point.x for point in series.points] == [10.0, 20.0]
    assert all(point.bound for point in series.points)
    assert "upper bound" in chart.caption


def test_without_a_line_the_error_names_the_run(tmp_path: Path) -> None:
    store(tmp_path, {("adp:steps=10@natural", "bpda:eot=4,steps=40"): 0.5})
    boards = read(tmp_path)
    for over, line in (
        ("defense:steps", "--defense adp:steps=5@natural --defense adp:steps=10@natural"),
        ("eot", "--attacks bpda:steps=40,eot=2 --attacks bpda:steps=40,eot=4"),
        ("eps", "--threat linf:4/255,linf:8/255,linf:16/255"),
        ("lambda", "--attacks auxiliary:lambdas=0.25 --attacks auxiliary:lambdas=0.5"),
    ):
        with pytest.raises(BenchError, match="alone; run: bench run") as error:
            sweep(boards, over, Choice(), "patches")
        assert line in str(error.value)
        assert "--dataset patches" in str(error.value)


def test_what_is_no_setting_is_refused_with_the_nearest(tmp_path: Path) -> None:
    by_steps(tmp_path)
    boards = read(tmp_path)
    for over, choice, words in (
        ("sigmq", Choice(), "did you mean 'sigma'?"),
        ("defence:steps", Choice(), "did you mean 'defense'?"),
        ("steps", Choice(defenses=("adq",)), "unknown row 'adq@natural'"),
        ("steps", Choice(attacks=("bpdq",)), "unknown column 'bpdq'"),
        ("steps", Choice(threat="linf:3/255"), "unknown threat on the boards of patches"),
    ):
        with pytest.raises(BenchError) as error:
            sweep(boards, over, choice, "patches")
        assert words in str(error.value)


def test_a_setting_of_several_things_must_say_of_which(tmp_path: Path) -> None:
    shares = {(f"adp:steps={n}@natural", f"bpda:steps={m}"): 0.5 for n in (5, 9) for m in (1, 2)}
    store(tmp_path, shares)
    with pytest.raises(BenchError, match="--over defense:steps or --over attack:steps"):
        sweep(read(tmp_path), "steps", Choice(attacks=("bpda",)), "patches")
    assert len(lines(sweep(read(tmp_path), "attack:steps", Choice(), "patches"))) == 2


def test_values_around_one() -> None:
    assert around("8/255") == ["4/255", "8/255", "16/255"]
    assert around("10") == ["5", "10", "20"]
    assert around("1") == ["1", "2", "4"]
    assert around("0.5") == ["0.25", "0.5", "1"]
    assert around("0.0") == ["0", "0.25", "0.5"]
