"""How many steps fit into some hours: measured on the first ones, kept for a continued run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.training import budget
from bench.training.budget import Stopwatch, beside_of, steps_within
from bench.training.onlooker import Onlooker, StoppedError


def run(seconds: float, number: int = 1000) -> tuple[list[int], Callable[[Onlooker], None]]:
    """A run of steps of so many seconds each, the first of ten times as many; what was made."""
    made: list[int] = []

    def go(watch: Onlooker) -> None:
        now[0] += 9 * seconds
        for step in range(1, number + 1):
            now[0] += seconds
            made.append(step)
            watch.stepped(step, number, 0.0)
            if watch.stop():
                raise StoppedError

    return made, go


now = [0.0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watch(Stopwatch):
        def __init__(self) -> None:
            super().__init__(lambda: now[0])

    monkeypatch.setattr(budget, "Stopwatch", Watch)


def test_the_first_steps_say_how_many_fit(tmp_path: Path) -> None:
    made, go = run(2.0)
    steps, how = steps_within(0.5, 10_000, go, tmp_path / "run.pt")
    assert steps == 900
    assert len(made) == 1 + budget.ENOUGH
    assert how == "2 s each, measured here"
    assert json.loads(beside_of(tmp_path / "run.pt").read_text()) == {"hours": 0.5, "steps": 900}


def test_slow_steps_are_measured_for_a_minute(tmp_path: Path) -> None:
    made, go = run(40.0)
    assert steps_within(1, 10_000, go, tmp_path / "run.pt")[0] == 90
    assert len(made) == 3


def test_a_recipe_that_fits_keeps_its_length(tmp_path: Path) -> None:
    assert steps_within(1, 100, run(2.0)[1], tmp_path / "run.pt")[0] == 100
    assert steps_within(1, 1, run(2.0, number=1)[1], tmp_path / "run.pt")[0] == 1


def test_a_run_that_is_continued_keeps_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    assert steps_within(0.5, 10_000, run(2.0)[1], path)[0] == 900
    assert steps_within(0.5, 10_000, run(1.0)[1], path)[0] == 1800  # nothing to continue
    path.write_bytes(b"a checkpoint")
    made, go = run(4.0)
    assert steps_within(0.5, 10_000, go, path) == (1800, "as when this run began")
    assert not made
    assert steps_within(0.25, 10_000, go, path)[0] == 225  # another budget
    beside_of(path).write_text("{")
    assert steps_within(0.5, 10_000, go, path)[0] == 450


def test_an_end_that_is_asked_for_while_steps_are_measured(tmp_path: Path) -> None:
    made, go = run(2.0)
    with pytest.raises(StoppedError):
        steps_within(0.5, 10_000, go, tmp_path / "run.pt", lambda: len(made) == 3)
    assert len(made) == 3
    assert not beside_of(tmp_path / "run.pt").exists()


def test_hours_too_few_for_anything(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"--hours 0\.001: one step takes 2 s here, .* 1 would"):
        steps_within(0.001, 10_000, run(2.0)[1], tmp_path / "run.pt")
