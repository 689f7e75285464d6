"""What `bench run` says while it works: a bar on a terminal, plain lines when piped."""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cli import interrupt
from bench.cli.options import count
from bench.measure.runner import Summary
from bench.measure.weights_used import is_file
from bench.measure.worker import Failure, Task
from bench.plan.plan import Draft
from bench.results.store import Plan

LONG = 60
"""Seconds after which a shard is said to be running still; then after twice as many, and so on."""
LOOK = 5
"""Seconds between two looks for such shards."""


class Reporter:
    """Counts network calls, not shards, so that the remaining time means something."""

    def __init__(
        self, plan: Plan, draft: Draft, tasks: list[Task], summary: Summary, quiet: bool
    ) -> None:
        self.plan, self.draft, self.summary, self.quiet = plan, draft, summary, quiet
        self._cost = {p.cell.digest: c.total for p, c in zip(plan.cells, draft.costs, strict=True)}
        self._left = Counter(task.planned.cell.digest for task in tasks)
        self._total = sum(self._weight(task) for task in tasks)
        self._done = 0.0
        self._began = time.monotonic()
        self._tasks = len(tasks)
        self._begun = False
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._since: dict[int, tuple[float, Task]] = {}
        self._due: dict[int, float] = {}
        self._over = threading.Event()

    def __enter__(self) -> Reporter:
        if self.quiet:
            return self
        for note in self.draft.notes:
            self._say(note)
        stale = f", {self.summary.stale} stale" if self.summary.stale else ""
        stale += " (other weights or fewer draws)" if stale else ""
        if self.summary.again:
            stale += f", {self.summary.again} again for their points"
        for name, shards in sorted(self.summary.changed.items()):
            what = f"weights '{name}'" if is_file(name) else name
            self._say(f"{what} changed: {count(shards, 'shard')} measured again")
        for name, shards in sorted(self.summary.other_code.items()):
            self._say(
                f"other code of {name} measured {count(shards, 'record')} that stay; where it now "
                "computes something else, raise its version= and run again"
            )
        for reason in self.summary.broken:
            self._say(f"measured again: {reason}")
        self._say(
            f"{self.plan.dataset} {self.plan.threat}, {self.plan.images} images, preset "
            f"{self.plan.preset}: {count(len(self.plan.cells), 'cell')}, "
            f"{len(self.plan.skips)} skipped; {count(self._tasks, 'shard')} to measure, "
            f"{self.summary.kept} finished before{stale}"
        )
        if self._tasks and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:.0f}%"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._row = self._bar.add_task("starting", total=self._total)
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line, unless the summary is JSON."""
        if not self.quiet:
            self._say(text)

    def watch(self, tasks: Sequence[Task]) -> None:
        """These shards are under way now, each the same object for as long as it is."""
        now, before = time.monotonic(), self._since
        # Thousands of workers: nothing is made of each here, only of those that take long.
        self._since = {id(task): before.get(id(task)) or (now, task) for task in tasks}
        if self._bar and tasks:
            more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
            self._bar.update(self._row, description=f"{_shard(tasks[0])}{more}")
        elif tasks and not self._begun:
            self.say(f"first: {_shard(tasks[0])}")
        self._begun = self._begun or bool(tasks)

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            self.say_what_takes_long(time.monotonic())

    def say_what_takes_long(self, now: float) -> None:
        """A line for every shard that has been running for long, ever more seldom."""
        for key, (since, task) in self._since.items():
            if (long := now - since) >= self._due.get(key, LONG):
                self._due[key] = 2 * long
                self.say(f"running for {long:.0f} s: {_shard(task)}{self._left_of_all(now)}")

    def _left_of_all(self, now: float) -> str:
        """How long the rest will take, as far as what is done tells."""
        if not self._done:
            return ""
        rest = (now - self._began) * (self._total - self._done) / self._done
        return f", about {rest:.0f} s left" if rest else ""

    def advance(self, task: Task, seconds: float) -> None:
        """One shard is finished (or failed)."""
        interrupt.check()
        self._done += self._weight(task)
        digest = task.planned.cell.digest
        self._left[digest] -= 1
        if self._bar:
            self._bar.update(self._row, completed=self._done)
        elif not self.quiet and not self._left[digest]:
            now = time.monotonic()
            name = f"{task.planned.defense} {task.planned.attack}{self._left_of_all(now)}"
            done = f"{100 * self._done / self._total:3.0f} %"
            self._say(f"{done}  {now - self._began:6.0f} s  {name}")

    def facts(self) -> dict[str, Any]:
        """What was measured and what failed, as data."""
        summary = self.summary
        failures = [_failure(f.task, f.reason) for f in summary.failures]
        counts: dict[str, Any] = {
            "measured": summary.measured,
            "kept": summary.kept,
            "stale": summary.stale,
        }
        counts |= {"again": summary.again} if summary.again else {}
        counts |= {"broken": len(summary.broken)} if summary.broken else {}
        counts |= {"other_code": dict(summary.other_code)} if summary.other_code else {}
        gate = {"precision": summary.gate} if summary.gate else {}
        return {**counts, "failures": failures, **gate}

    def finish(self) -> None:
        """What was measured, what failed and why."""
        summary = self.summary
        reasons = Counter(
            (f.task.planned.defense, f.task.planned.attack, f.reason, _elsewhere(f))
            for f in summary.failures
        )
        for (defense, attack, reason, where), shards in reasons.items():
            number = f"({count(shards, 'shard')}{where}; no number)"
            self._say(f"failed: {defense} {attack}: {reason} {number}")
        self._say(
            f"{count(summary.measured, 'shard')} measured in {time.monotonic() - self._began:.0f} s"
        )

    def _weight(self, task: Task) -> float:
        return max(1.0, self._cost[task.planned.cell.digest])

    def _say(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _shard(task: Task) -> str:
    return f"{task.planned.defense} {task.planned.attack}, shard {task.shard}"


def _elsewhere(failure: Failure) -> str:
    return "" if failure.machine == platform.node() else f" on {failure.machine}"


def _failure(task: Task, reason: str) -> dict[str, str | int]:
    planned = task.planned
    return {
        "defense": planned.defense,
        "attack": planned.attack,
        "shard": task.shard,
        "reason": reason,
    }
