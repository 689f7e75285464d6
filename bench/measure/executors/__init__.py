"""Where shards are measured: processes on this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from bench.measure.executors.fleet import Executor, Fleet, R, T, Watch, Work


def _local(
    tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]
) -> Generator[R, None, None]:
    from bench.measure.executors import local

    yield from local.execute(tasks, work, fleet, watch)


def _ray(
    tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]
) -> Generator[R, None, None]:
    from bench.measure.executors import ray

    yield from ray.execute(tasks, work, fleet, watch)


EXECUTORS: dict[str, Executor] = {"local": _local, "ray": _ray}
