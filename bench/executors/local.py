"""Shards on local worker processes, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import TypeVar

from bench.errors import BenchError

T = TypeVar("T")
R = TypeVar("R")


def execute(
    tasks: Iterable[T],
    measure: Callable[[T], R],
    start: Callable[[int], None],
    workers: int,
) -> Iterator[R]:
    """`measure` of every task, in the order in which they finish.

    `start(place)` prepares the worker that is number `place`, counted from 0 (its device, plug-ins,
    threads); one worker is this very process. A few tasks per worker are handed out at a time, so
    that stopping loses little.

    Raises:
        BenchError: a worker died (killed by the system); finished results are already out.
    """
    if workers <= 1:
        start(0)
        yield from map(measure, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=_initialise,
        initargs=(start, context.Value("i", 0)),
    )
    try:
        yield from _results(pool, iter(tasks), measure, workers)
    except BrokenProcessPool:
        raise BenchError(
            "a worker died, perhaps out of memory; run the same command again to continue, "
            "with fewer --workers if it repeats"
        ) from None
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _results(
    pool: ProcessPoolExecutor, tasks: Iterator[T], measure: Callable[[T], R], workers: int
) -> Iterator[R]:
    pending: set[Future[R]] = set()
    while True:
        with _interrupts_held():
            for task in tasks:
                pending.add(pool.submit(measure, task))
                if len(pending) >= 2 * workers:
                    break
        if not pending:
            return
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


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


def _initialise(start: Callable[[int], None], started: Synchronized[int]) -> None:
    """Take the next place; end when the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.join,), daemon=True).start()
    with started.get_lock():
        place, started.value = started.value, started.value + 1
    start(place)


def _follow(join: Callable[[], None]) -> None:
    join()
    os._exit(1)
