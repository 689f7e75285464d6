"""How long a plan takes with so many workers: the executor's order of work, simulated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from bench.measure.executors.fleet import TRIES
from bench.results.store import SHARD, Plan

START_UP = 10.0
"""Seconds from the start of a process to its first shard."""
DRIVER = 0.007
"""Seconds in which the driver takes a result, writes it and hands out the next shard."""

Shards = Mapping[str, Sequence[int]]
"""Cell's digest -> the numbers of its shards."""


@dataclass(frozen=True)
class Conditions:
    """What workers meet besides their shards.

    start_up: seconds of a process, the driver's and then each worker's. lost: the share of tries in
    which a worker is lost, at a moment that is as likely as any other. driver: seconds of the
    driver for each result, one after the other.
    """

    start_up: float = START_UP
    lost: float = 0.0
    driver: float = DRIVER


@dataclass(frozen=True)
class Schedule:
    """What a run takes.

    makespan: seconds from the command to its end. work: seconds of all shards together. longest: of
    the longest shard. losses: workers that were lost; failures: shards that lost TRIES of them.
    """

    workers: int
    shards: int
    makespan: float
    work: float
    longest: float
    losses: int = 0
    failures: int = 0

    @property
    def efficiency(self) -> float:
        """The share of the workers' time that goes into shards; 1 where there is no work."""
        paid = self.workers * self.makespan
        return self.work / paid if paid else 1.0


def simulate(
    seconds: Iterable[float], workers: int, conditions: Conditions | None = None, seed: int = 0
) -> Schedule:
    """The executors' way with shards of so many seconds: the longest first, to whoever is free.

    A shard whose worker is lost is the next one to be handed out, to its successor; one that loses
    TRIES workers is a failure. One worker is the driver itself, which starts once.
    """
    how, random = conditions or Conditions(), Random(seed)
    waiting = deque((length, 0) for length in sorted(seconds, reverse=True))
    shards, work = len(waiting), sum(length for length, _ in waiting)
    longest = waiting[0][0] if waiting else 0.0
    size = min(workers, shards)
    # When somebody is free, or is gone with a shard that has lost so many workers.
    events: list[tuple[float, int, tuple[float, int] | None]]
    events = [(how.start_up * (2 if size > 1 else 1), place, None) for place in range(size)]
    heapify(events)
    end, served, losses, failures = how.start_up if shards else 0.0, 0.0, 0, 0
    while events:
        now, place, gone = heappop(events)
        if gone is not None:
            losses, end = losses + 1, max(end, now)
            if gone[1] < TRIES:
                waiting.appendleft(gone)
            else:
                failures += 1
            if waiting:
                heappush(events, (now + how.start_up, place, None))
            continue
        if not waiting:
            continue
        length, lost = waiting.popleft()
        begin = served = max(now, served) + how.driver
        if how.lost and random.random() < how.lost:
            heappush(events, (begin + random.random() * length, place, (length, lost + 1)))
            continue
        end = max(end, begin + length)
        heappush(events, (begin + length, place, None))
    return Schedule(workers, shards, end, work, longest, losses, failures)


def in_turn(
    runs: Sequence[Sequence[float]], workers: int, conditions: Conditions | None = None
) -> Schedule:
    """Several runs of one command, one after the other, as `bench run` does them.

    The driver starts once, workers start for every run that has shards.
    """
    how = conditions or Conditions()
    each = [simulate(run, workers, how, seed) for seed, run in enumerate(runs) if run]
    again = how.start_up * max(len(each) - 1, 0)
    return Schedule(
        workers,
        sum(one.shards for one in each),
        sum(one.makespan for one in each) - again,
        sum(one.work for one in each),
        max((one.longest for one in each), default=0.0),
        sum(one.losses for one in each),
        sum(one.failures for one in each),
    )


def lengths(plan: Plan, per_image: Mapping[str, float], mine: Shards | None = None) -> list[float]:
    """Seconds of every shard (of `mine`, where that is given) by those of an image of its cell."""
    found = []
    for digest in dict.fromkeys(planned.cell.digest for planned in plan.cells):
        numbers = range(plan.shards) if mine is None else mine[digest]
        images = (min(SHARD, plan.images - SHARD * number) for number in numbers)
        found += [per_image[digest] * some for some in images]
    return found
