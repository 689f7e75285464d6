"""What `bench train` says while it works: the network, the steps, the time left, what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import interrupt
from bench.training.onlooker import Onlooker, StoppedError

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

FIRST = 5
"""Steps after the first one that an estimate needs."""
BETWEEN = 60.0
"""Seconds between two lines, where nobody sees a bar."""


class Told(Onlooker):
    """Says what happens, and asks for an end where Ctrl-C was pressed."""

    def __init__(
        self, title: str, bar: Progress | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title, self.bar, self.clock = title, bar, clock
        self.step = self.steps = self.on_disk = self.first = 0
        self.began = self.spoke = 0.0
        self.path: Path | None = None
        self.row = bar.add_task(title, total=None) if bar else None

    def say(self, text: str) -> None:
        """One line on stderr."""
        line = f"{self.title}: {text}"
        self.bar.console.print(line, markup=False, highlight=False) if self.bar else click.echo(
            line, err=True
        )

    def begins(self, module: nn.Module, step: int, steps: int, batch: int) -> None:
        """The size of what is trained, and where it goes on."""
        number = sum(p.numel() for p in module.parameters())
        self.step, self.steps, self.on_disk = step, steps, step
        self.say(f"{number:,} parameters, {steps:,} steps of {batch} images")
        if step:
            self.say(f"continues at step {step:,}")

    def stepped(self, step: int, steps: int, loss: float) -> None:
        """A line after the first steps, one a minute from then on, one at the end."""
        now, self.step, self.steps = self.clock(), step, steps
        if not self.first:  # the first step is slower: time counts from its end
            self.began, self.first = now, step
        done = step - self.first
        left = (now - self.began) / done * (steps - step) if done else 0.0
        if self.bar and self.row is not None:
            told = f"{self.title} step {step:,} of {steps:,}, loss {loss:.4f}{_left(left)}"
            self.bar.update(self.row, total=steps, completed=step, description=told)
            return
        known = done >= FIRST or (done and now - self.began >= BETWEEN)
        due = not self.spoke or now - self.spoke >= BETWEEN
        if step == steps or (known and due):
            self.spoke = now
            self.say(f"step {step:,} of {steps:,}, loss {loss:.4f}{_left(left)}")

    def kept(self, step: int) -> None:
        """Where the same command would go on."""
        self.on_disk = step

    def wrote(self, path: Path) -> None:
        """The weights are there: there is nothing to continue."""
        self.path = path

    def stop(self) -> bool:
        """Once Ctrl-C was pressed."""
        return interrupt.pressed()

    def where(self) -> str:
        """What an interruption leaves, in words."""
        if self.path:
            return (
                f"{self.title}: finished, its weights are in {self.path}; nothing after it is begun"
            )
        if not self.steps:
            return f"{self.title}: stopped before a step was made; the same command begins there"
        at = f"{self.title}: stopped at step {self.step:,} of {self.steps:,}"
        if not self.on_disk:
            return f"{at}; nothing of it is kept, the same command begins anew"
        return f"{at}; kept at step {self.on_disk:,}; the same command continues"


@contextmanager
def watched(title: str) -> Iterator[Told]:
    """An onlooker that shows a bar on a terminal, and lines elsewhere; Ctrl-C waits for a step."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    bar = Progress(*columns, console=console) if console.is_terminal else None
    if bar:
        bar.start()
    told = Told(title, bar)
    try:
        with interrupt.between_steps():
            yield told
    except (KeyboardInterrupt, StoppedError):
        raise KeyboardInterrupt(told.where()) from None
    finally:
        if bar:
            bar.stop()


def _left(seconds: float) -> str:
    if not seconds:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f", about {seconds / size:.1f} {unit} left"
    return f", about {seconds:.0f} s left"
