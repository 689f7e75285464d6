"""A published board's plans and records in one compressed file: the same bytes each time.

JSON lines under xz: a header, the plans, the records in the order of (cell, shard).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bench.errors import BenchError
from bench.files.bounded import content_of, json_of
from bench.results.store import FORMAT, Plan, Planned, Record, Store, write_whole

SUFFIX = ".jsonl.xz"
MACHINE = ("device", "threads", "machine")
LARGEST = 256 << 20
"""Bytes of an unpacked archive, some fifty times those of a published board."""
CONDITIONS = ("gate", "out_of_memory")
"""What of the conditions of a measurement a board has to say, where there is something to say."""
ASSUMED = "assumed"
"""What nobody said of a classifier from a file, and was taken for granted."""
KEPT = ("seconds", *MACHINE, "precision", *CONDITIONS, ASSUMED)


class Results(Protocol):
    """Where tables read from: a folder of result files, or an archive of one.

    left_out: file and reason of each record that could not be read, once `records` met it.
    """

    left_out: dict[str, str]

    def datasets(self) -> list[str]:
        """The data sets that anything was planned on."""
        ...

    def plans(self, dataset: str) -> list[Plan]:
        """Every plan of a data set, in a fixed order."""
        ...

    def records(self, dataset: str) -> Iterator[Record]:
        """Every record of a data set, in a fixed order."""
        ...


class Archive:
    """The reader of a packed file; what it holds is checked like loose files are."""

    def __init__(self, path: Path) -> None:
        """Read `path` and check its plans; its records are checked when they are asked for.

        Raises:
            BenchError: unreadable, damaged or foreign; the file is named.
        """
        self.left_out: dict[str, str] = {}
        self._plans: list[Plan] = []
        self._lines: list[tuple[str, str]] = []
        self._read: list[Record] | None = None
        try:
            lines = _unpacked(content_of(path, LARGEST)).decode().splitlines()
            header = json_of(lines[0])
            if header["format"] != FORMAT or header["lines"] != len(lines):
                raise ValueError("header")
        except (lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, IndexError):
            raise BenchError(f"{path}: not a whole archive of results (*{SUFFIX})") from None
        for number, line in enumerate(lines[1:], start=2):
            where = f"{path}, line {number}"
            if line.startswith('{"plan":'):
                self._plans.append(Plan.from_json(line[len('{"plan":') : -1], where))
            else:
                self._lines.append((line, where))

    def datasets(self) -> list[str]:
        """The data sets of the plans."""
        return sorted({plan.dataset for plan in self._plans})

    def plans(self, dataset: str) -> list[Plan]:
        """The plans of a data set, in the file's order."""
        return [plan for plan in self._plans if plan.dataset == dataset]

    def records(self, dataset: str) -> Iterator[Record]:
        """The records of a data set, in the file's order.

        Raises:
            BenchError: one that is damaged; its line is named.
        """
        if self._read is None:
            self._read = [Record.from_json(*line) for line in self._lines]
            self._lines.clear()
        return (record for record in self._read if record.cell.dataset == dataset)


def _unpacked(packed: bytes) -> bytes:
    """The content; LZMAError, EOFError or ValueError where it is damaged, or a bomb."""
    unpacker = lzma.LZMADecompressor(memlimit=LARGEST)
    content = unpacker.decompress(packed, LARGEST)
    if not unpacker.eof:
        raise ValueError("it ends too early, or unpacks to too much")
    return content


class Archives:
    """Several packed files as one source, in the order of their names."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read all of them; errors as of `Archive`."""
        self.left_out: dict[str, str] = {}
        self._archives = [Archive(path) for path in sorted(paths)]

    def datasets(self) -> list[str]:
        """The data sets of all plans."""
        return sorted({name for archive in self._archives for name in archive.datasets()})

    def plans(self, dataset: str) -> list[Plan]:
        """The plans of a data set, file by file."""
        return [plan for archive in self._archives for plan in archive.plans(dataset)]

    def records(self, dataset: str) -> Iterator[Record]:
        """The records of a data set, file by file."""
        holders = (one for one in self._archives if dataset in one.datasets())
        return (record for archive in holders for record in archive.records(dataset))


def open_results(path: Path) -> Results:
    """The results at `path`: one archive, a folder of archives, or one of result files (or empty).

    Raises:
        BenchError: an archive that is not whole, or a folder that holds both kinds.
    """
    if path.is_file():
        return Archive(path)
    packed = list(path.glob(f"*{SUFFIX}"))
    if not packed:
        return Store(path)
    if loose := Store(path).datasets():
        raise BenchError(
            f"{path} holds archives (*{SUFFIX}) and result files of {', '.join(loose)}: "
            "name one archive, or move them apart"
        )
    return Archives(packed)


def pack(source: Results, dataset: str, path: Path) -> int:
    """Write the plans of `dataset` and the records that they ask for; how many records.

    Of `timing` only KEPT is kept, seconds rounded. Packing an archive again changes no byte.

    Raises:
        BenchError: nothing to pack, a record that cannot be read, or `path` cannot be written.
    """
    plans = sorted(source.plans(dataset), key=Plan.to_json)
    wanted: dict[str, int] = {}
    for plan in plans:
        for planned in plan.cells:
            digest = planned.cell.digest
            wanted[digest] = max(wanted.get(digest, 0), plan.shards)
    records: dict[tuple[str, int, str], Record] = {}
    for record in source.records(dataset):
        digest = record.cell.digest
        if record.shard < wanted.get(digest, 0):
            key = (digest, record.shard, json.dumps(dict(record.weights), sort_keys=True))
            records.setdefault(key, _lean(record))
    if source.left_out:
        raise BenchError(f"{next(iter(source.left_out.values()))}; nothing was packed")
    if not records:
        raise BenchError(f"there are no records of '{dataset}' to pack")
    lines = [f'{{"plan":{_flat(plan.to_json())}}}' for plan in plans]
    lines += [records[key].to_json().rstrip("\n") for key in sorted(records)]
    header = json.dumps({"format": FORMAT, "dataset": dataset, "lines": len(lines) + 1})
    packed = lzma.compress("\n".join([header, *lines]).encode(), preset=9 | lzma.PRESET_EXTREME)
    write_whole(path, packed)
    return len(records)


def unpack(source: Results, dataset: str, store: Store) -> int:
    """Write plans and records of `dataset` to a folder that `bench run` continues; how many.

    Records that are there already stay as they are.

    Raises:
        BenchError: nothing to unpack, damaged results, or the folder cannot be written.
    """
    if not source.plans(dataset):
        raise BenchError(f"there are no records of '{dataset}' to unpack")
    cells: dict[str, Planned] = {}
    for plan in source.plans(dataset):
        store.write_plan(plan)
        for planned in plan.cells:
            cells.setdefault(planned.cell.digest, planned)
    count = 0
    for record in source.records(dataset):
        cell = cells.get(record.cell.digest)
        if cell is not None and not store.path(cell, record.shard).exists():
            store.write(cell, record)
            count += 1
    if source.left_out:
        raise BenchError(f"{next(iter(source.left_out.values()))}; it was not unpacked")
    return count


def _flat(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))


def _lean(record: Record) -> Record:
    kept = {key: record.timing[key] for key in KEPT if key in record.timing}
    if "seconds" in kept:
        kept["seconds"] = round(float(kept["seconds"]), 3)
    return replace(record, timing=kept)
