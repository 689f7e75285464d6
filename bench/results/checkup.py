"""What is wrong with a folder of results: every file that is not what was written. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.results.store import Record, Store


def complaints(root: Path) -> Iterator[str]:
    """A line for each record or plan that is damaged, edited, foreign or without a checksum, or
    that another contradicts, each file of points that is not its record's, and each left-over of a
    run that was killed.

    Raises:
        BenchError: there are no results.
    """
    store = Store(root)
    if not store.datasets():
        raise BenchError(f"there are no results in '{root}'")
    for dataset in store.datasets():
        try:
            store.plans(dataset)
        except BenchError as error:
            yield str(error)
        for path, record in store.readable(dataset):
            yield from _of_points(store, path, record)
    yield from store.left_out.values()
    for part in sorted(root.rglob(".*.part")):
        yield f"{part}: left over by a run that was killed, if none is at work; delete it"


def _of_points(store: Store, path: Path, record: Record) -> Iterator[str]:
    points = store.points(record.cell, record.shard)
    if not record.points:
        return
    if not points.is_file():
        yield f"{path}: its points {points} are gone; bench run --save-adversarial makes them again"
    elif hashlib.sha256(points.read_bytes()).hexdigest() != record.points:
        yield f"{points}: not the points that its record names; bench verify has no figure for them"
