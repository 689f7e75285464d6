"""Shards on local worker processes, one thread each.

A worker has a pipe for tasks, one at a time, and one for answers. It may die at any moment, also in
the middle of an answer: its task is tried by others, and the rest goes on.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from multiprocessing.connection import Connection, Pipe, wait
from typing import Generic, TypeVar

from bench.errors import BenchError
from bench.measure.executors.fleet import STARTS, TRIES, Fleet, Try, Watch, Work, too_long
from bench.measure.executors.process import READY, REFUSED, RESULT, Answers, serve

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 600
"""Seconds that a worker may take to get ready; a busy machine imports slowly."""
START = multiprocessing.get_context("spawn")


def execute(
    tasks: Sequence[T], work: Work[T, R], fleet: Fleet, watch: Watch[T]
) -> Generator[R, None, None]:
    """Results in the order in which they finish; `work.lost` for tasks that lost TRIES workers.

    Raises:
        BenchError: no worker could start.
    """
    size = min(fleet.workers or 1, len(tasks))
    if size <= 1 and not fleet.limit:
        work.start(0)
        for task in tasks:
            watch([task])
            yield work.measure(task)
        return
    pool = _Pool(tasks, work, size, fleet.limit, watch)
    try:
        yield from pool.results()
    finally:
        pool.close()


class _Worker(Generic[T, R]):
    """A process, its pipes, and since when it holds what (None: it is starting)."""

    def __init__(self, work: Work[T, R], place: int) -> None:
        given, self._tasks = Pipe(duplex=False)
        read, answers = Pipe(duplex=False)
        self.place, self.answers = place, Answers(read)
        self.held: Try[T] | None = None
        self.since = time.monotonic()
        self.process = START.Process(target=serve, args=(work, place, given, answers))
        self.process.start()
        given.close()
        answers.close()

    def give(self, held: Try[T]) -> None:
        """Let it do a task; one that is gone by now is seen as such soon enough."""
        self.held, self.since = held, time.monotonic()
        with suppress(OSError):
            self._tasks.send(held.task)

    def ended(self) -> str:
        """End it, however it is; how it ended if it was gone already."""
        self.process.join(0.0 if self.process.is_alive() and not self.answers.over else 1.0)
        code = self.process.exitcode
        self.process.kill()
        self.process.join(10)
        self._tasks.close()
        self.answers.pipe.close()
        if code is None:
            return "it no longer answers"
        if code >= 0:
            return f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            return "killed, perhaps out of memory"
        return f"ended by signal {-code} ({signal.strsignal(-code) or 'unknown'})"


class _Pool(Generic[T, R]):
    """Hands tasks to workers, and replaces those that are lost."""

    def __init__(
        self, tasks: Sequence[T], work: Work[T, R], size: int, limit: float, watch: Watch[T]
    ) -> None:
        self._work, self._size, self._limit, self._watch = work, size, limit, watch
        self._waiting = deque(Try(task) for task in tasks)
        self._workers: list[_Worker[T, R]] = []
        self._failed = 0
        self._last = ""

    def results(self) -> Iterator[R]:
        """Until no task is left."""
        self._hire()
        while self._waiting or any(worker.held for worker in self._workers):
            if not self._workers:
                raise BenchError(f"no worker could start: {self._last}")
            self._watch([worker.held.task for worker in self._workers if worker.held])
            for worker in self._awaited():
                yield from self._attend(worker)
            for worker in [worker for worker in self._workers if self._left(worker) < 0]:
                late = too_long(self._limit) if worker.held else "it was not ready in time"
                yield from self._lose(worker, late, tries=1)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.ended()

    def _awaited(self) -> list[_Worker[T, R]]:
        """Those who said something or are gone, when there are any or somebody's time is over."""
        known: dict[Connection | int, _Worker[T, R]] = {}
        for worker in self._workers:
            known |= {worker.answers.pipe: worker, worker.process.sentinel: worker}
        left = min(self._left(worker) for worker in self._workers)
        ready = wait(list(known), None if left == inf else max(0.0, left) + 0.01)
        return list(dict.fromkeys(known[one] for one in ready if isinstance(one, Connection | int)))

    def _left(self, worker: _Worker[T, R]) -> float:
        """Seconds that a worker has for its task, or to get ready."""
        limit = (self._limit or inf) if worker.held else max(self._limit, PATIENCE)
        return limit - (time.monotonic() - worker.since)

    def _attend(self, worker: _Worker[T, R]) -> Iterator[R]:
        alive = worker.process.is_alive()  # asked first: what it said before its end is whole
        answer = worker.answers.take()
        if answer is None:
            if not alive or worker.answers.over:
                yield from self._lose(worker)
            return
        kind, said = answer
        if kind == REFUSED:
            raise BenchError(said)
        if kind not in (READY, RESULT):
            yield from self._lose(worker, said)
            return
        self._failed, worker.held = 0, None
        self._employ(worker)
        if kind == RESULT:
            yield said

    def _lose(self, worker: _Worker[T, R], reason: str = "", tries: int = TRIES) -> Iterator[R]:
        held, how = worker.held, worker.ended()
        self._workers.remove(worker)
        if held is None:
            self._failed, self._last = self._failed + 1, reason or how
        else:
            held.lost += 1
            if held.lost < tries:
                self._waiting.appendleft(held)
            else:
                lost = f"lost {TRIES} workers: " if tries > 1 else ""
                yield self._work.lost(held.task, lost + (reason or how))
        self._hire()

    def _employ(self, worker: _Worker[T, R]) -> None:
        """Give a ready worker a task, or end it."""
        if self._waiting and worker.process.is_alive():
            worker.give(self._waiting.popleft())
            return
        worker.ended()
        self._workers.remove(worker)
        self._hire()

    def _hire(self) -> None:
        """As many workers as there is work and room for."""
        starting = sum(worker.held is None for worker in self._workers)
        free = set(range(self._size)) - {worker.place for worker in self._workers}
        if self._failed < STARTS:
            for place in sorted(free)[: max(0, len(self._waiting) - starting)]:
                with _interrupts_held():
                    self._workers.append(_Worker(self._work, place))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Workers start inside: they inherit the mask, so that Ctrl-C is the parent's alone.

    A terminal sends it to all of them, and one that is still importing would print a traceback.
    What arrives meanwhile reaches the parent afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
