"""`bench plan --workers`: how long so many workers take, and how much of it they work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli.common import F, add
from bench.errors import BenchError, plain

if TYPE_CHECKING:
    from bench.plan.cost import Cost
    from bench.results.store import Plan

MOST = 10_000
OPTIONS = (
    click.option(
        "--workers",
        default="",
        metavar="N[,N]",
        help=f"How long so many workers take, up to {MOST}: simulated.",
    ),
    click.option(
        "--rate",
        type=click.FloatRange(0, min_open=True),
        default=1000.0,
        show_default=True,
        metavar="F",
        help="With --workers, without --time: network calls a second and worker.",
    ),
    click.option(
        "--start-up",
        type=click.FloatRange(0),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="With --workers: of a process, to its first shard.",
    ),
    click.option(
        "--lost",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="With --workers: tries of a shard that lose their worker.",
    ),
)
WORDS = {
    "makespan_s": "hours",
    "work_s": "hours of work",
    "longest_shard_s": "longest shard",
    "one_queue_s": "as one queue",
}


class Queue(NamedTuple):
    """The shards of one run: their seconds, and the defense and attack of the longest."""

    seconds: list[float]
    longest: str


def simulated(function: F) -> F:
    """Add the options of the simulation to a command."""
    return add(function, OPTIONS)


def numbers(text: str) -> list[int]:
    """`1,100` as numbers of workers; none of an empty text.

    Raises:
        BenchError: no whole numbers from 1 to MOST.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 9 and 0 < int(word) <= MOST):
            raise BenchError(f"--workers '{plain(word)}' is not a number from 1 to {MOST}")
    return [int(word) for word in words]


@dataclass(frozen=True)
class Workforce:
    """The workers that were asked about; rate: network calls a second where nothing was timed.

    Raises:
        BenchError: a number that is none, or without end.
    """

    workers: Sequence[int]
    rate: float
    start_up: float
    lost: float

    def __post_init__(self) -> None:
        given = {"--rate": self.rate, "--start-up": self.start_up, "--lost": self.lost}
        for name, value in given.items():
            if not math.isfinite(value):
                raise BenchError(f"{name} {value:g} is no finite number")

    def run(
        self,
        plan: Plan,
        costs: Sequence[Cost],
        hours: Mapping[str, float],
        mine: Mapping[str, Sequence[int]] | None = None,
    ) -> Queue:
        """The shards of a plan (of `mine`, where given).

        hours: of whole cells, by digest, as far as somebody timed them.
        """
        from bench.estimate.schedule import lengths

        per_image, names = {}, {}
        for planned, cost in zip(plan.cells, costs, strict=True):
            digest = planned.cell.digest
            timed = digest in hours
            image = 3600 * hours[digest] / plan.images if timed else cost.total / self.rate
            per_image[digest] = image
            names[digest] = f"{planned.defense} against {planned.attack}"
        here = [digest for digest in per_image if mine is None or mine[digest]]
        longest = names[max(here, key=per_image.__getitem__)] if here else ""
        return Queue(lengths(plan, per_image, mine), longest)

    def rows(self, runs: Sequence[Queue]) -> list[dict[str, Any]]:
        """One row for each number of workers; of several runs also as if they were one queue."""
        from bench.estimate.schedule import Conditions, in_turn, simulate

        found, how = [], Conditions(self.start_up, self.lost)
        queues = [run.seconds for run in runs if run.seconds]
        for count in self.workers:
            made = in_turn(queues, count, how)
            row: dict[str, Any] = {
                "workers": count,
                "shards": made.shards,
                "makespan_s": round(made.makespan, 3),
                "efficiency": round(made.efficiency, 4),
                "work_s": round(made.work, 3),
                "longest_shard_s": round(made.longest, 3),
            }
            row |= {"lost": made.losses, "failures": made.failures} if self.lost else {}
            if len(queues) > 1:
                whole = simulate([length for queue in queues for length in queue], count, how)
                row["one_queue_s"] = round(whole.makespan, 3)
            found.append(row)
        return found

    def text(self, runs: Sequence[Queue], *, timed: bool) -> str:
        """The rows in words. timed: whether the seconds of a shard were measured."""
        from tabulate import tabulate

        found = self.rows(runs)
        head = [WORDS.get(key, key) for key in found[0]]
        lines = [[_text(key, value) for key, value in row.items()] for row in found]
        table = tabulate(lines, head, tablefmt="simple", disable_numparse=True)
        rate = "as timed" if timed else f"{self.rate:,g} network calls a second and worker"
        top = max(runs, key=lambda run: max(run.seconds, default=0)).longest
        how = f"simulated, the longest shard first: {rate}, {self.start_up:g} s to start"
        return f"{table}\n{how}\nthe longest shard is of {top}"


def _text(key: str, value: float) -> str:
    if key == "efficiency":
        return f"{value:.1%}"
    return f"{value / 3600:,.4g}" if key.endswith("_s") else f"{value:,}"
