"""Shards on a Ray cluster: workers are actors, which keep a defense's networks warm.

Ray only starts them and carries tasks and results. A task goes to a worker that is ready, one at a
time, so that a lost worker or machine costs one try of one task.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Generic, TypeVar

from bench.errors import BenchError, plain, told
from bench.measure.executors.fleet import STARTS, TRIES, Fleet, Try, Watch, Work, too_long
from bench.measure.executors.remote import Place

T = TypeVar("T")
R = TypeVar("R")

JOIN = 60
"""Seconds to join a cluster."""
PATIENCE = 600
"""Seconds to wait for a first worker where the cluster is busy."""
STORE = 128 * 2**20
"""Bytes of the shared memory of a cluster of our own; records are small."""

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


def execute(tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]) -> Iterator[R]:
    """Results in the order in which they finish; `work.lost` for tasks that lost TRIES workers.

    Raises:
        BenchError: no Ray here, no cluster at the address, no room for a worker, or a worker
            whose machine lacks what the driver has.
    """
    with _connected(fleet, len(tasks)) as ray:
        room = _room(ray, fleet.gpus)
        if not room:
            raise BenchError(
                f"no machine of the cluster has room for a worker of 1 CPU and {fleet.gpus:g} GPUs "
                f"(it has {_resources(ray)})"
            )
        fleet = replace(fleet, workers=min(fleet.workers or room, room))
        pool = _Cluster(ray, tasks, work, fleet, watch)
        try:
            yield from pool.results()
        finally:
            pool.close()


class _Actor(Generic[T, R]):
    """The actor. It is ready once `start` has answered."""

    def __init__(self, work: Work[T, R], place: Place) -> None:
        self._work, self._place = work, place

    def start(self) -> str:
        """Empty, or why this worker cannot measure."""
        try:
            self._place.enter()
            self._work.start(0)  # Ray shows a worker its own GPUs only
        except BenchError as error:
            return str(error)
        return ""

    def measure(self, task: T) -> R:
        return self._work.measure(task)


class _Cluster(Generic[T, R]):
    """Hands tasks to workers. busy: what each answer that is awaited is about (None: a start)."""

    def __init__(
        self,
        ray: ModuleType,
        tasks: Sequence[T],
        work: Work[T, R],
        fleet: Fleet,
        watch: Watch[T] = lambda tasks: None,
    ) -> None:
        self._ray, self._work, self._size = ray, work, fleet.workers
        self._limit, self._watch = fleet.limit, watch
        self._hired = ray.remote(_Actor).options(
            num_cpus=1, num_gpus=fleet.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._given = (work, Place.here(fleet.files))
        self._waiting = deque(Try(task) for task in tasks)
        self._busy: dict[Any, tuple[Any, Try[T] | None]] = {}
        self._failed = 0
        self._last = ""

    def results(self) -> Iterator[R]:
        """Until no task is left."""
        self._hire()
        while self._waiting or any(held for _, held in self._busy.values()):
            if not self._busy:
                raise BenchError(f"no worker could start: {self._last}")
            tries = [held for _, held in self._busy.values() if held]
            self._watch([held.task for held in tries])
            done, _ = self._ray.wait(list(self._busy), timeout=self._patience(tries))
            if not done and not tries:
                raise BenchError(
                    f"no worker could start within {PATIENCE} s: the cluster is busy "
                    f"(it has {_resources(self._ray)})"
                )
            for answer in done:
                yield from self._take(answer)
            yield from self._overdue()

    def _patience(self, tries: Sequence[Try[T]]) -> float | None:
        """Seconds to wait for any answer."""
        if not tries:
            return PATIENCE
        if not self._limit:
            return None
        return max(0.0, min(held.since for held in tries) + self._limit - time.monotonic()) + 0.01

    def _overdue(self) -> Iterator[R]:
        """Give up what takes longer than it may, with its worker."""
        for answer, (worker, held) in list(self._busy.items()):
            if held and self._limit and time.monotonic() - held.since > self._limit:
                del self._busy[answer]
                self._ray.kill(worker)
                yield self._work.lost(held.task, too_long(self._limit))
                self._hire()

    def close(self) -> None:
        """End the workers."""
        for worker, _ in self._busy.values():
            self._ray.kill(worker)

    def _take(self, answer: Any) -> Iterator[R]:
        worker, held = self._busy.pop(answer)
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(worker)
            yield from self._lose(held, _reason(error))
            return
        if held is not None:
            self._employ(worker)
            yield result
        elif result:
            raise BenchError(result)
        else:
            self._failed = 0
            self._employ(worker)

    def _lose(self, held: Try[T] | None, reason: str) -> Iterator[R]:
        if held is None:
            self._failed, self._last = self._failed + 1, reason
        else:
            held.lost += 1
            if held.lost < TRIES:
                self._waiting.appendleft(held)
            else:
                yield self._work.lost(held.task, f"lost {TRIES} workers: {reason}")
        self._hire()

    def _employ(self, worker: Any) -> None:
        """Give a ready worker a task, or its room back."""
        if not self._waiting:
            self._ray.kill(worker)
            return
        held = self._waiting.popleft()
        held.since = time.monotonic()
        self._busy[worker.measure.remote(held.task)] = worker, held

    def _hire(self) -> None:
        """As many workers as there is work and room for."""
        starting = sum(held is None for _, held in self._busy.values())
        wanted = min(self._size - len(self._busy), len(self._waiting) - starting)
        if self._failed < STARTS:
            for _ in range(wanted):
                worker = self._hired.remote(*self._given)
                self._busy[worker.start.remote()] = worker, None


@contextmanager
def _connected(fleet: Fleet, tasks: int) -> Iterator[ModuleType]:
    """Ray, as a part of the cluster at `fleet.address` or with one of its own; left at the end."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # what it tells of lost workers, `_reason` does
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if fleet.address:
        reach(fleet.address)
    else:
        _keep_to_this_machine()
    ray = _import()
    if fleet.address:
        join(fleet.address)
    handler = signal.getsignal(signal.SIGTERM)
    with TemporaryDirectory(prefix="bench-ray-", ignore_cleanup_errors=True) as folder:
        own = {
            "address": "local",
            "num_cpus": min(fleet.workers, tasks) or None,
            "include_dashboard": False,
            "object_store_memory": STORE,
            "_temp_dir": folder,
        }
        try:
            _start(ray, {"address": fleet.address} if fleet.address else own)
            yield ray
        finally:
            ray.shutdown(wait_for_processes=True)
            signal.signal(signal.SIGTERM, handler)


def _start(ray: ModuleType, how: dict[str, Any]) -> None:
    try:
        ray.init(**how, **QUIET)
    except Exception as error:  # it raises bare ones
        raise BenchError(f"Ray did not start: {' '.join(str(error).split())}") from None


def _import() -> ModuleType:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise BenchError("--executor ray needs Ray: pip install 'purifybench[ray]'") from None


def _keep_to_this_machine() -> None:
    """A cluster of our own answers on the loopback address, and only to who knows its token.

    The token is kept in the environment: Ray would write one into the home folder.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = _token()


@cache
def _token() -> str:
    """One for the life of the process: Ray keeps the first that it reads."""
    return secrets.token_hex(32)


def endpoint(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, or a BenchError."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise BenchError(f"--address '{address}' is not HOST:PORT (such as 10.0.0.1:6379)")
    return host.strip("[]"), int(port)


def reach(address: str, seconds: float = 10) -> None:
    """Raise a BenchError unless something listens at HOST:PORT."""
    host, port = endpoint(address)
    try:
        socket.create_connection((host, port), seconds).close()
    except OSError as error:
        raise BenchError(
            f"no Ray head answers at {address} ({error.strerror or error}); "
            f"start one there: ray start --head --port {port}"
        ) from None


def join(address: str, seconds: float = JOIN) -> None:
    """Raise a BenchError unless this machine can join the cluster at HOST:PORT.

    It is tried in a process of its own, since Ray waits for minutes or aborts the process.
    """
    code = f"import ray; ray.init({address!r}, log_to_driver=False, logging_level=50)"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(
            f"no Ray cluster could be joined at {address} within {seconds:g} s: is it a head of "
            "Ray, does this machine belong to it, is RAY_AUTH_TOKEN_PATH its token?"
        ) from None
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or ["it gave no reason"]
        raise BenchError(f"cannot join the Ray cluster at {address}: {said[-1]}")


def _room(ray: ModuleType, gpus: float) -> int:
    """Workers that fit on the cluster's machines when nobody else uses them."""
    return sum(
        int(min(has.get("CPU", 0), has.get("GPU", 0) / gpus if gpus else float("inf")))
        for has in (node["Resources"] for node in ray.nodes() if node["Alive"])
    )


def _resources(ray: ModuleType) -> str:
    has = ray.cluster_resources()
    return f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs"


def _reason(error: Exception) -> str:
    """In one line: what a task raised, or that its worker is gone."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return told(cause)
    if getattr(error, "actor_init_failed", False):
        return plain(str(error).strip().splitlines()[-1], 500)
    return "killed, out of memory, or their machines are gone"
