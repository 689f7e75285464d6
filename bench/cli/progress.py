"""What `bench run` says while it works: a bar on a terminal, plain lines when piped."""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cli import interrupt
from bench.cli.options import count
from bench.plan import Draft
from bench.results import Plan
from bench.runner import Summary
from bench.worker import Failure, Task


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
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Reporter:
        if self.quiet:
            return self
        for note in self.draft.notes:
            self._say(note)
        stale = f", {self.summary.stale} stale" if self.summary.stale else ""
        stale += " (other weights or fewer draws)" if stale else ""
        if self.summary.again:
            stale += f", {self.summary.again} again for their points"
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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line, unless the summary is JSON."""
        if not self.quiet:
            self._say(text)

    def advance(self, task: Task, seconds: float) -> None:
        """One shard is finished (or failed)."""
        interrupt.check()
        self._done += self._weight(task)
        digest = task.planned.cell.digest
        self._left[digest] -= 1
        name = f"{task.planned.defense} {task.planned.attack}"
        if self._bar:
            self._bar.update(self._row, completed=self._done, description=name)
        elif not self.quiet and not self._left[digest]:
            elapsed = time.monotonic() - self._began
            self._say(f"{100 * self._done / self._total:3.0f} %  {elapsed:6.0f} s  {name}")

    def facts(self) -> dict[str, Any]:
        """What was measured and what failed, as data."""
        summary = self.summary
        failures = [_failure(f.task, f.reason) for f in summary.failures]
        counts = {"measured": summary.measured, "kept": summary.kept, "stale": summary.stale}
        counts |= {"again": summary.again} if summary.again else {}
        counts |= {"broken": len(summary.broken)} if summary.broken else {}
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
