"""The simulated order of work: known sums, bounds that any list scheduling keeps, lost workers."""

from __future__ import annotations

import math

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.group import cli
from bench.cli.schedule import Workforce, numbers
from bench.errors import BenchError
from bench.estimate.schedule import Conditions, in_turn, lengths, simulate
from bench.measure.executors.fleet import TRIES
from tests.factories import cell, plan, planned

AT_ONCE = Conditions(start_up=0, driver=0)


def test_the_longest_goes_first() -> None:
    """Graham's example: 3 and 3, then 2 and 2, then 2; in any order of the list."""
    found = simulate([2, 3, 2, 3, 2], 2, AT_ONCE)
    assert (found.makespan, found.work, found.longest, found.shards) == (7, 12, 3, 5)
    assert found.efficiency == 12 / 14


def test_one_worker_is_the_driver_and_starts_once() -> None:
    how = Conditions(start_up=5, driver=0)
    assert simulate([1, 2], 1, how).makespan == 5 + 3
    assert simulate([1, 2], 2, how).makespan == 2 * 5 + 2
    assert in_turn([[1, 2], [], [4]], 1, how).makespan == 5 + 3 + 4
    assert in_turn([[1, 2], [4, 4]], 2, how).makespan == 5 + (5 + 2) + (5 + 4)


def test_the_driver_serves_one_worker_after_the_other() -> None:
    """Shards that take no time wait for the driver alone, whoever does them."""
    how = Conditions(start_up=0, driver=0.5)
    assert simulate([0.0] * 100, 10, how).makespan == 50


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.integers(1, 50))
def test_no_schedule_is_shorter_than_its_work_or_its_longest_shard(
    seconds: list[float], workers: int
) -> None:
    found = simulate(seconds, workers, AT_ONCE)
    least = max(found.longest, found.work / workers)
    assert least * (1 - 1e-9) <= found.makespan <= found.work / workers + found.longest + 1e-9


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=12), st.integers(1, 6))
def test_a_shard_that_loses_every_worker_is_given_up(seconds: list[float], workers: int) -> None:
    found = simulate(seconds, workers, Conditions(start_up=1, lost=1.0, driver=0))
    assert (found.failures, found.losses) == (len(seconds), TRIES * len(seconds))


def test_lost_workers_cost_time_and_the_same_each_time() -> None:
    how = Conditions(start_up=10, lost=0.1)
    found, again = (simulate([60.0] * 400, 20, how) for _ in range(2))
    assert found == again
    assert 20 < found.losses < 80
    assert found.makespan > simulate([60.0] * 400, 20, Conditions(start_up=10)).makespan


def test_a_short_last_shard_and_a_part_of_a_plan() -> None:
    asked = plan([planned(cell()), planned(cell(seed=1))], images=40)
    first, second = (item.cell.digest for item in asked.cells)
    assert sorted(lengths(asked, {first: 1.0, second: 2.0})) == [8, 16, 32, 64]
    assert lengths(asked, {first: 1.0, second: 2.0}, {first: [], second: [1]}) == [16]


@pytest.mark.parametrize("text", ["0", "10001", "x", "1.5", "-2", "1,0", ",", " ", "9" * 40])
def test_numbers_of_workers_that_are_none(text: str) -> None:
    with pytest.raises(BenchError, match="--workers"):
        numbers(text)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("option", ["rate", "start_up", "lost"])
def test_numbers_without_end_or_that_are_none(option: str, value: float) -> None:
    given = {"rate": 1.0, "start_up": 0.0, "lost": 0.0, option: value}
    with pytest.raises(BenchError, match=f"--{option.replace('_', '-')} {value} is no finite"):
        Workforce([4], **given)


def test_a_plan_says_how_long_workers_take() -> None:
    asked = ["plan", "--defense", "none", "--dataset", "digits", "--images", "64"]
    asked += ["--attacks", "clean,classifier-pgd", "--workers", "1,2", "--rate", "10"]
    told = CliRunner().invoke(cli, asked)
    assert told.exit_code == 0, told.output
    assert "the longest shard is of none@natural against classifier-pgd" in told.output
    two = CliRunner().invoke(cli, [*asked, "--threat", "linf:0.1,linf:0.2"])
    assert "as one queue" in two.output
