"""One folder of results from several: plans and records copied, nothing overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import BenchError
from bench.results.store import EXTRAS, Plan, Planned, Record, Store, contradictions, fingerprints


@dataclass
class Merged:
    """What a merge did.

    kept: records that were there already, equal outside `timing`. points: files of attacked images
    copied. lost: records whose points lie in none of the folders.
    """

    copied: int = 0
    kept: int = 0
    plans: int = 0
    points: int = 0
    lost: int = 0


def merge(sources: Sequence[Path], into: Path, *, unsealed: bool = False) -> Merged:
    """Copy what `sources` hold to `into`; everything is read and compared before anything is.

    unsealed: also what has no checksum; its copy gets one.

    Raises:
        BenchError: a folder without results; a damaged or foreign file; two records of one shard
            of one cell that differ outside `timing`; points that are not those of their record.
            Files are named and `into` is as it was.
    """
    target, seen = Store(into), _Seen()
    for path, record in _records(target):
        seen.add(path, record)
    before = set(seen.units)
    stores = [_source(path, unsealed) for path in sources]
    plans: dict[str, Plan] = {}
    for store in stores:
        plans.update(_plans(store))
        for path, record in _records(store):
            seen.add(path, record)
            _points(store, record)
    held = _plans(target)
    done, named = Merged(), set[Path]()
    for store in stores:
        for _, record in _records(store):
            unit = record.cell.digest, record.shard
            if unit in before:
                done.kept += 1
            else:
                before.add(unit)
                target.write(_planned(record), record)
                done.copied += 1
            if record.points:
                done.points += _carry(store, target, record)
                named.add(target.points(record.cell, record.shard))
    for text, plan in plans.items():
        target.write_plan(plan)
        done.plans += text not in held
    done.lost = sum(not path.exists() for path in named)
    return done


def _carry(store: Store, target: Store, record: Record) -> bool:
    """Copy the points of a record, and what it says of them, to a `target` that has none."""
    asked, content = _planned(record), _points(store, record)
    held = target.read(asked, record.shard)
    here = held and held.points and target.points(record.cell, record.shard).exists()
    if held is None or here:
        return False
    extras = {name: getattr(record, name) for name in EXTRAS}
    target.write(asked, replace(held, **extras), content)
    return bool(content)


def _points(store: Store, record: Record) -> bytes:
    """The points that lie beside a record, nothing where there are none.

    Raises:
        BenchError: they are not those that the record names.
    """
    path = store.points(record.cell, record.shard)
    if not record.points or not path.exists():
        return b""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != record.points:
        raise BenchError(f"{path} is not the file that its record names; move it away")
    return content


class _Seen:
    """By cell and shard: where its first record lies, and a hash of each field."""

    def __init__(self) -> None:
        self.units: dict[tuple[str, int], tuple[Path, dict[str, bytes]]] = {}

    def add(self, path: Path, record: Record) -> None:
        fields = fingerprints(record)
        first, known = self.units.setdefault((record.cell.digest, record.shard), (path, fields))
        if differing := contradictions(known, fields):
            raise BenchError(
                f"{path} and {first} are of one shard of one cell and differ in "
                f"{', '.join(differing)}; nothing was merged, keep one of them"
            )
        known |= fields


def _planned(record: Record) -> Planned:
    return Planned(record.cell, record.asked["defense"], record.asked["attack"])


def _source(path: Path, unsealed: bool) -> Store:
    if path.is_file():
        raise BenchError(
            f"'{path}' is a file, not a folder of results; "
            f"unpack it first: bench table --results {path} --unpack DIR"
        )
    store = Store(path, unsealed=unsealed)
    if not store.datasets():
        raise BenchError(f"there are no results in '{path}'")
    return store


def _plans(store: Store) -> dict[str, Plan]:
    return {plan.to_json(): plan for name in store.datasets() for plan in store.plans(name)}


def _records(store: Store) -> Iterator[tuple[Path, Record]]:
    for dataset in store.datasets():
        for path, record in store.files(dataset):
            if not {"defense", "attack"} <= set(record.asked):
                raise BenchError(f"{path}: does not say what was asked; move it away")
            yield path, record
