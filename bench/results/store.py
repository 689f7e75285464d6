"""The result files: raw verdicts per image, one JSON file per shard, whole or absent.

    <results>/<data set>/records/<defense>/<attack>/<digest>/<shard>.json
    <results>/<data set>/points/<digest>/<shard>.safetensors      attacked images, where asked for
    <results>/<data set>/plans/<digest>.json         what one `bench run` asked for, skips included

Readers never write. Merging the work of several machines is copying files
(`bench.results.merge`). No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.files.write import write_whole
from bench.results.record import EXTRAS, FORMAT, SHARD, Cell, Record, contradictions, fingerprints
from bench.results.request import Plan, Planned, Skip, shards_of
from bench.results.seal import BrokenError

__all__ = [
    "EXTRAS",
    "FORMAT",
    "POINTS",
    "SHARD",
    "Cell",
    "Plan",
    "Planned",
    "Record",
    "Skip",
    "Store",
    "contradictions",
    "fingerprints",
    "shards_of",
    "slug",
    "write_whole",
]
POINTS = ".safetensors"
"""Suffix of stored points."""


class Store:
    """A folder of result files. One writer at a time for each shard.

    unsealed: read also what has no checksum, as everything before there were any. left_out: file
    and reason of each record that `records` could not read.
    """

    def __init__(self, root: Path, *, unsealed: bool = False) -> None:
        self.root, self.unsealed = root, unsealed
        self.left_out: dict[str, str] = {}
        self._folders: dict[str, dict[str, list[Path]]] = {}

    def path(self, planned: Planned, shard: int) -> Path:
        """Where the record of a shard lies: the folder that its cell has, by the digest alone.

        The names before the digest are for people: how the cell was first asked for.
        """
        cell = planned.cell
        records = self.root / cell.dataset / "records"
        if cell.dataset not in self._folders:
            known = self._folders[cell.dataset] = {}
            for folder in sorted(records.glob("*/*/*/")):
                known.setdefault(folder.name, []).append(folder)
        first = records / slug(planned.defense) / slug(planned.attack) / cell.digest
        # Folders of two machines, copied into one, may name a cell in two ways.
        folders = self._folders[cell.dataset].setdefault(cell.digest, [first])
        name = f"{shard:03d}.json"
        return next((f / name for f in folders if (f / name).exists()), folders[0] / name)

    def write(self, planned: Planned, record: Record, points: bytes = b"") -> None:
        """Write a record whole: a temporary file beside it, then a rename; its points first."""
        if points:
            write_whole(self.points(planned.cell, record.shard), points)
        write_whole(self.path(planned, record.shard), record.to_json())

    def points(self, cell: Cell, shard: int) -> Path:
        """Where the attacked images of a shard lie, if they are stored."""
        return self.root / cell.dataset / "points" / cell.digest / f"{shard:03d}{POINTS}"

    def lacks_points(self, record: Record) -> bool:
        """Whether the attacked images of a record are not stored."""
        return not record.points or not self.points(record.cell, record.shard).exists()

    def retire(self, planned: Planned, shard: int) -> None:
        """Move a shard's record and its points aside, if any: nothing reads `<name>.stale`.

        Points of a run that died before it wrote their record are written over.
        """
        record = self.path(planned, shard)
        if not record.exists():
            return
        for path in (self.points(planned.cell, shard), record):
            try:
                path.replace(path.with_name(f"{path.name}.stale"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise BenchError(f"cannot move {path} aside: {error.strerror or error}") from None

    def write_plan(self, plan: Plan) -> None:
        """Keep what was asked; the same request is the same file.

        What plug-ins say of themselves today takes the place of what they said before; a plan that
        is older than that takes nothing away.
        """
        text = plan.to_json()
        path = self.root / plan.dataset / "plans" / f"{plan.name}.json"
        held = _plan(path) if path.exists() else None
        told = bool(plan.attacks) and (bool(plan.about) or not (held and held.about))
        if held is None or (told and _read(path) != text):
            write_whole(path, text)

    def datasets(self) -> list[str]:
        """The data sets that anything was planned on, or measured."""
        found = (*self.root.glob("*/plans"), *self.root.glob("*/records"))
        return sorted({path.parent.name for path in found})

    def plans(self, dataset: str) -> list[Plan]:
        """Every plan of a data set, in a fixed order."""
        found = sorted((self.root / dataset / "plans").glob("*.json"))
        plans = [Plan.from_json(_read(path), str(path), unsealed=self.unsealed) for path in found]
        for path, plan in zip(found, plans, strict=True):
            if plan.dataset != dataset:
                raise BenchError(f"{path}: a plan of data set '{plan.dataset}'; move it there")
        return plans

    def records(self, dataset: str) -> Iterator[Record]:
        """Every record of a data set that can be read, in a fixed order; others are `left_out`."""
        for _, record in self.readable(dataset):
            yield record

    def readable(self, dataset: str) -> Iterator[tuple[Path, Record]]:
        """As `records`, with its file; of two that agree on one shard, the first."""
        first: dict[tuple[str, int], Path] = {}
        for path in self.paths(dataset):
            try:
                record = self.record(path)
                before = first.setdefault((record.cell.digest, record.shard), path)
                if before == path:
                    yield path, record
                else:
                    self._require_same(record, path, before)
            except BenchError as error:
                self.left_out[str(path)] = str(error)

    def _require_same(self, record: Record, path: Path, before: Path) -> None:
        """Refuse a second record of a shard that says something else than the first."""
        if names := contradictions(fingerprints(self.record(before)), fingerprints(record)):
            raise BenchError(
                f"{path}: differs in {', '.join(names)} from {before}, which is of the same shard "
                "and is the one that counts; move one of the two away"
            )

    def files(self, dataset: str) -> Iterator[tuple[Path, Record]]:
        """Every record of a data set with its file, in a fixed order; errors as of `record`."""
        for path in self.paths(dataset):
            yield path, self.record(path)

    def paths(self, dataset: str) -> list[Path]:
        """Every file of a record of a data set, in a fixed order."""
        return sorted((self.root / dataset / "records").rglob("*.json"))

    def record(self, path: Path) -> Record:
        """The record in one of the files.

        Raises:
            BrokenError: damaged, or edited since it was written.
            BenchError: it cannot be read, is of another format, or of another cell than its place.
        """
        record = Record.from_json(_read(path), str(path), unsealed=self.unsealed)
        place = (record.cell.dataset, record.cell.digest, f"{record.shard:03d}.json")
        if place != (path.relative_to(self.root).parts[0], path.parent.name, path.name):
            raise BenchError(f"{path}: belongs to another cell; move it away and run again")
        return record

    def read(self, planned: Planned, shard: int) -> Record | None:
        """The finished record of a shard of this very cell, or None.

        Raises:
            BenchError: as of `record`.
        """
        path = self.path(planned, shard)
        if not path.exists():
            return None
        return self.record(path)

    def sound(self, planned: Planned, shard: int, broken: list[str] | None = None) -> Record | None:
        """As `read`; a record that is not what was written counts as none, and why, to `broken`."""
        try:
            return self.read(planned, shard)
        except BrokenError as error:
            if broken is not None:
                broken.append(str(error))
            return None


def slug(label: str) -> str:
    """A label as a folder name: readable, portable, unique enough beside the digest."""
    return re.sub(r"[^A-Za-z0-9@+=.,-]", "_", label)[:80]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BrokenError(f"{path}: not a text file") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None


def _plan(path: Path) -> Plan | None:
    """The plan that lies there; None where it is none any more, so that it may be replaced."""
    try:
        return Plan.from_json(_read(path), str(path))
    except BrokenError:
        return None
