"""One folder of results from several: plans and records copied, nothing overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.results import Plan, Planned, Record, Store


@dataclass
class Merged:
    """What a merge did. kept: records that were there already, equal outside `timing`."""

    copied: int = 0
    kept: int = 0
    plans: int = 0


def merge(sources: Sequence[Path], into: Path) -> Merged:
    """Copy what `sources` hold to `into`; everything is read and compared before anything is.

    Raises:
        BenchError: a folder without results; a damaged or foreign file; two records of one shard
            of one cell that differ outside `timing`. Files are named and `into` is as it was.
    """
    target, seen = Store(into), _Seen()
    for path, record in _records(target):
        seen.add(path, record)
    before = set(seen.units)
    stores = [_source(path) for path in sources]
    plans: dict[str, Plan] = {}
    done = Merged()
    for store in stores:
        plans.update(_plans(store))
        for path, record in _records(store):
            seen.add(path, record)
    held = _plans(target)
    for store in stores:
        for _, record in _records(store):
            unit = record.cell.digest, record.shard
            if unit in before:
                done.kept += 1
                continue
            before.add(unit)
            asked = Planned(record.cell, record.asked["defense"], record.asked["attack"])
            target.write(asked, record)
            done.copied += 1
    for text, plan in plans.items():
        target.write_plan(plan)
        done.plans += text not in held
    return done


class _Seen:
    """By cell and shard: where its first record lies, and a hash of each field."""

    def __init__(self) -> None:
        self.units: dict[tuple[str, int], tuple[Path, dict[str, bytes]]] = {}

    def add(self, path: Path, record: Record) -> None:
        fields = _hashes(record)
        first, known = self.units.setdefault((record.cell.digest, record.shard), (path, fields))
        if differing := [name for name in fields if fields[name] != known.get(name)]:
            raise BenchError(
                f"{path} and {first} are of one shard of one cell and differ in "
                f"{', '.join(differing)}; nothing was merged, keep one of them"
            )


def _hashes(record: Record) -> dict[str, bytes]:
    """Of all that the cell and its seeds decide: not how it was asked for, nor how long it took."""
    fields = {**json.loads(record.to_json()), "timing": None, "asked": None}
    texts = {name: json.dumps(value, sort_keys=True) for name, value in fields.items()}
    return {name: hashlib.sha256(text.encode()).digest()[:8] for name, text in texts.items()}


def _source(path: Path) -> Store:
    if path.is_file():
        raise BenchError(
            f"'{path}' is a file, not a folder of results; "
            f"unpack it first: bench table --results {path} --unpack DIR"
        )
    store = Store(path)
    if not store.datasets():
        raise BenchError(f"there are no results in '{path}'")
    return store


def _plans(store: Store) -> dict[str, Plan]:
    return {plan.to_json(): plan for name in store.datasets() for plan in store.plans(name)}


def _records(store: Store) -> Iterator[tuple[Path, Record]]:
    for dataset in store.datasets():
        for path, record in store.files(dataset):
            place = (dataset, record.cell.digest, f"{record.shard:03d}.json")
            if place != (record.cell.dataset, path.parent.name, path.name):
                raise BenchError(f"{path}: belongs to another cell; move it away and merge again")
            if not {"defense", "attack"} <= set(record.asked):
                raise BenchError(f"{path}: does not say what was asked; move it away")
            yield path, record
