"""The workers of a run, what they do with a task, and how often one may be lost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


R = TypeVar("R")


Watch = Callable[[Sequence[T]], None]
"""Is told, whenever it changes, what is under way."""


TRIES = 3
"""Workers that one task may lose."""


STARTS = 3
"""Workers in a row that may be lost before any is ready."""


@dataclass(frozen=True)
class Fleet:
    """The workers of a run.

    workers: how many at most; 0 is the executor's own choice. The rest is for `ray`. address:
    HOST:PORT of a cluster's head, or nothing for one of its own on this machine. gpus: of each
    worker. files: every worker must hold the same. limit: seconds that a task may take, 0 for any
    number; one worker without a limit is this very process.
    """

    executor: str = "local"
    workers: int = 0
    address: str = ""
    gpus: float = 0.0
    files: tuple[str, ...] = ()
    limit: float = 0.0


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """What is done with every task.

    start(place) prepares the worker that is number `place`, counted from 0; measure gives a task's
    result, and lost(task, reason) stands for that of a task whose workers were lost too often.
    """

    start: Callable[[int], None]
    measure: Callable[[T], R]
    lost: Callable[[T, str], R]


@dataclass(eq=False)
class Try(Generic[T]):
    """A task, how many workers it has lost, and since when the present one has it."""

    task: T
    lost: int = 0
    since: float = 0.0


class Executor(Protocol):
    """Where tasks are done."""

    def __call__(
        self, tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]
    ) -> Generator[R, None, None]:
        """Results of all tasks, in the order in which they finish; closed, it ends the workers."""


def too_long(limit: float) -> str:
    """Why a task was given up that took longer than it may."""
    return f"took longer than {limit:g} s (--shard-timeout)"
