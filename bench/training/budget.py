"""How many steps fit into some hours here: the first ones are measured, and thrown away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError
from bench.files.bounded import content_of, json_of
from bench.files.write import write_whole
from bench.training.onlooker import Onlooker, StoppedError

ENOUGH = 10
"""Steps that are measured after the first, which is slower."""
LONGEST = 60.0
"""Seconds after which fewer do, but two at least."""
LEAST = 10
"""Steps below which nothing is trained."""


class Stopwatch(Onlooker):
    """Stops a run once its speed is known."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: list[float] = []
        self._asked: Callable[[], bool] = lambda: False

    def stepped(self, step: int, steps: int, loss: float) -> None:
        """Notes the time."""
        self._at.append(self._clock())

    def stop(self) -> bool:
        """After enough steps, or a minute; at once where somebody else asks for it."""
        done = len(self._at) - 1
        return (
            self._asked() or done >= ENOUGH or (done >= 1 and self._at[-1] - self._at[0] > LONGEST)
        )

    def seconds(self, run: Callable[[Onlooker], object], asked: Callable[[], bool]) -> float:
        """Per step of `run`, which is handed this watch; StoppedError where `asked` says so."""
        self._asked = asked
        with suppress(StoppedError):
            run(self)
        if asked():
            raise StoppedError
        if len(self._at) < 2:
            return 0.0
        return (self._at[-1] - self._at[0]) / (len(self._at) - 1)


def steps_within(
    hours: float,
    most: int,
    run: Callable[[Onlooker], object],
    checkpoint: Path,
    asked: Callable[[], bool] = lambda: False,
) -> tuple[int, str]:
    """The steps of a run of at most `most` that take so many hours, and in words how they came.

    What was derived once stands beside the checkpoint, so that a killed run keeps it. asked():
    whether somebody asks for an end.

    Raises:
        BenchError: hours that are too few for anything.
        StoppedError: an end was asked for.
    """
    beside = beside_of(checkpoint)
    with suppress(BenchError, ValueError, KeyError, TypeError):
        kept = json_of(content_of(beside, 1000))
        if kept["hours"] == hours and checkpoint.exists() and 0 < int(kept["steps"]) <= most:
            return int(kept["steps"]), "as when this run began"
    each = Stopwatch().seconds(run, asked)
    steps = most if each * most <= hours * 3600 else int(hours * 3600 / each)
    if steps < min(LEAST, most):
        raise BenchError(
            f"--hours {hours:g}: one step takes {each:.3g} s here, so that {steps} would be made; "
            f"at least {LEAST} are needed"
        )
    write_whole(beside, json.dumps({"hours": hours, "steps": steps}).encode())
    return steps, f"{each:.3g} s each, measured here"


def beside_of(checkpoint: Path) -> Path:
    """The file that keeps the derived steps of a run."""
    return checkpoint.with_suffix(".hours.json")
