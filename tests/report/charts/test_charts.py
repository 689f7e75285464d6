"""Certificates, corruptions and costs as charts: the board's numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.boards.analysis import analyse, extra
from bench.boards.metrics import cost
from bench.errors import BenchError
from bench.report.charts.curves import as_data, certified_curve, cost_scatter, severity_curves
from bench.report.charts.selection import Choice, require_columns
from bench.stats import Figure
from tests.factories import fill, measured
from tests.report.figures.stored import IMAGES, read, store

RADIUS = [0.3 if i < IMAGES // 4 else 0.12 if i < IMAGES // 2 else 0.0 for i in range(IMAGES)]


def certificates(root: Path) -> None:
    shares = {("none@noisy", "certify:sigma=0.1"): 0.75, ("none@noisy", "clean"): 1.0}
    store(root, shares, radius={"none@noisy": RADIUS})


def test_the_certified_curve_is_the_boards_at_its_radii_and_a_staircase_between(
    tmp_path: Path,
) -> None:
    certificates(tmp_path)
    boards = read(tmp_path)
    (series,) = certified_curve(boards, Choice(), "patches").panels[0].series
    entry = boards[0].rows[0].entries["certify:sigma=0.1"]
    shown = {point.x: point.share for point in series.points}
    assert shown[0.0] == entry.figure
    expected = dict(extra(entry).within)
    assert {x: share for x, share in shown.items() if x} == expected
    assert shown[0.1].value == 0.5
    assert shown[0.25].value == 0.25
    # Three quarters are right, half of all reach 0.12, a quarter 0.3, and nothing is beyond.
    stairs = [(0.0, 0.75), (0.0, 0.75), (0.12, 0.5), (0.3, 0.25), (0.3, 0.0), (0.3, 0.0)]
    assert np.allclose(series.stairs, stairs)


def test_severities_are_the_boards_means_over_kinds(tmp_path: Path) -> None:
    fill(tmp_path)
    boards = read(tmp_path)
    (board,) = boards
    chart = severity_curves(boards, Choice(defenses=("jpeg",)), "patches")
    (series,) = chart.panels[0].series
    row = next(row for row in board.rows if row.label == "jpeg@natural")
    metrics = extra(row.entries["corruption"]).named()
    shown = {point.x: point.share for point in series.points}
    assert shown == {
        0.0: row.entries["clean"].figure,
        **{float(s): metrics[f"accuracy on severity {s}"] for s in (1, 3)},
    }
    assert [text for _, text in chart.axis.ticks] == ["0", "1", "3"]
    each = severity_curves(boards, Choice(), "patches", ("each",))
    assert [panel.title for panel in each.panels] == ["fog", "snow"]
    fog = next(s for s in each.panels[0].series if s.label == "jpeg@natural")
    assert fog.points[1].share == metrics["accuracy on fog/1"]
    with pytest.raises(BenchError, match="did you mean 'fog'"):
        severity_curves(boards, Choice(), "patches", ("fogg",))


@pytest.mark.parametrize("calls", ["prediction", "all"])
def test_a_spot_is_a_worst_case_and_what_the_records_counted(tmp_path: Path, calls: str) -> None:
    fill(tmp_path)
    boards = read(tmp_path)
    analysis = analyse(boards[0])
    chart = cost_scatter(boards, Choice(), "patches", "all" if calls == "all" else "prediction")
    assert {spot.label for spot in chart.spots} == set(analysis.worst)
    for spot in chart.spots:
        (row,) = (row for row in boards[0].rows if row.label == spot.label)
        assert spot.share == analysis.worst[spot.label].figure
        assert spot.kind == row.kind
        costs = [entry.cost for entry in row.complete().values()]
        total = sum(c.forwards + c.backwards for c in costs)
        assert spot.x == (total if calls == "all" else max(c.prediction for c in costs))


def test_backwards_of_a_prediction_count() -> None:
    made = measured(np.ones((1, 2, 32), dtype=bool))
    calls = {"energy": {"attack": (7, 7), "judge": (640, 320)}}
    records = tuple(replace(record, calls=calls) for record in made.records)
    found = cost([replace(made, records=records)])
    assert (found.prediction, found.followed_back) == (10.0, 5.0)


def test_numbers_are_printed_as_on_the_board(tmp_path: Path) -> None:
    certificates(tmp_path)
    lines = as_data(certified_curve(read(tmp_path), Choice(), "patches"))
    assert lines[0]["measured"] == "75.0"
    assert lines[0]["series"] == "none@noisy"


def test_what_is_not_stored_names_the_run(tmp_path: Path) -> None:
    empty = read(tmp_path)
    for make, line in (
        (certified_curve, "bench run --defense none@noisy --attacks certify --dataset patches"),
        (severity_curves, "bench run --defense adp --attacks clean,corruption --dataset patches"),
        (cost_scatter, "bench run --defense adp --attacks all --dataset patches"),
    ):
        with pytest.raises(BenchError) as error:
            make(empty, Choice(), "patches")
        assert line in str(error.value)


@pytest.mark.parametrize("nothing", ["", ",", " "])
def test_an_empty_name_is_no_way_to_say_all(tmp_path: Path, nothing: str) -> None:
    fill(tmp_path)
    boards = read(tmp_path)
    with pytest.raises(BenchError, match="name at least one defense: --defense adp"):
        cost_scatter(boards, Choice(defenses=(nothing,)), "patches")
    with pytest.raises(BenchError, match="name at least one attack: --attack bpda"):
        require_columns(boards, (nothing,))


def test_intervals_stay_around_their_shares(tmp_path: Path) -> None:
    certificates(tmp_path)
    for point in certified_curve(read(tmp_path), Choice(), "patches").panels[0].series[0].points:
        assert isinstance(point.share, Figure)
        assert point.share.low <= point.share.value <= point.share.high
