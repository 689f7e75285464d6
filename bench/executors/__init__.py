"""Where shards are measured: processes on this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Fleet:
    """The workers of a run.

    workers: how many at most; 0 is the executor's own choice. The rest is for `ray`. address:
    HOST:PORT of a cluster's head, or nothing for one of its own on this machine. gpus: of each
    worker. files: every worker must hold the same.
    """

    executor: str = "local"
    workers: int = 0
    address: str = ""
    gpus: float = 0.0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """What is done with every task.

    start(place) prepares the worker that is number `place`, counted from 0; measure gives a task's
    result, and lost(task, reason) stands for that of a task whose workers were lost too often.
    """

    start: Callable[[int], None]
    measure: Callable[[T], R]
    lost: Callable[[T, str], R]


class Executor(Protocol):
    """Where tasks are done."""

    def __call__(
        self, tasks: Sequence[T], work: Work[T, R], fleet: Fleet
    ) -> Generator[R, None, None]:
        """Results of all tasks, in the order in which they finish; closed, it ends the workers."""


def _local(tasks: Sequence[T], work: Work[T, R], fleet: Fleet) -> Generator[R, None, None]:
    from bench.executors import local

    yield from local.execute(tasks, work.measure, work.start, min(fleet.workers or 1, len(tasks)))


def _ray(tasks: Sequence[T], work: Work[T, R], fleet: Fleet) -> Generator[R, None, None]:
    from bench.executors import ray

    yield from ray.execute(tasks, work, fleet)


EXECUTORS: dict[str, Executor] = {"local": _local, "ray": _ray}
