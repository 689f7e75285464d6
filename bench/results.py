"""The result files: raw verdicts per image, one JSON file per shard, whole or absent.

    <results>/<data set>/records/<defense>/<attack>/<digest>/<shard>.json
    <results>/<data set>/points/<digest>/<shard>.safetensors      attacked images, where asked for
    <results>/<data set>/plans/<digest>.json         what one `bench run` asked for, skips included

Readers never write. Merging the work of several machines is copying files (`bench.merge`). No
torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.facts import Facts

FORMAT = 1
SHARD = 32
"""Images of one shard, the unit of work and of storage."""
CERTIFICATE = ("label", "copies", "radius")
"""What a certificate says of each image."""
POINTS = ".safetensors"
"""Suffix of stored points."""
EXTRAS = ("points", "rounded")
"""Fields of a record that two records of one shard need not both have."""
SEEN, SEEN_OF_TRACE = "gradients seen", ("zero_gradients", "nan_gradients")
"""Of a trace without losses: what the judge saw of gradients, which older records do not have."""


@dataclass(frozen=True)
class Cell:
    """The identity of one measurement: what was resolved, never what was typed.

    defense and attack are resolved spec texts; versions names each plug-in's version.
    """

    dataset: str
    subset: str
    defense: str
    attack: str
    threat: str
    seed: int
    versions: str

    @property
    def digest(self) -> str:
        """16 hex digits that name the cell's folder and seed its randomness."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plugins(self) -> dict[str, int]:
        """The version of every plug-in that took part, and of the judge; ValueError if damaged."""
        pairs = (text.rpartition("=") for text in self.versions.split(","))
        return {name: int(version) for name, _, version in pairs}


@dataclass(frozen=True)
class Record:
    """One shard of one cell, as measured. Everything outside `timing` is reproducible.

    correct: one text of `0`/`1` per (variant, draw), variant-major, a character per image.
    protocol: the attack's own verdict in the same form, or empty.
    distance: perturbation norm per image (the largest over variants).
    queries: deployed predictions per image that the attack asked, or empty.
    calls: network -> {attack, judge} -> [forward, backward] images.
    trace: first and last loss and share of zero gradients per image, where the attack tells; first
    and last cosine between exact and BPDA gradient, where an attack compared them; share of zero
    gradients that the judge saw where the attack tells nothing, share of NaN gradients, whether the
    classifier answers in probabilities (1), and the share of its answers whose softmax is one class
    alone, only where they are not 0.
    certificate: `label` (-1: abstained), `copies` and `radius` (l2) per image, or empty.
    gradient: through what the attack followed it, where that depends on the defense, or empty.
    points: sha256 of the file of its attacked images, where they are stored, and then rounded: the
    verdicts, as in `correct` and on the same draws, once those images are rounded to 8 bits.

    Fields with a default came after the format: empty ones are not written, so that older records
    stay the same bytes, and an older reader passes over them.
    """

    cell: Cell
    shard: int
    asked: Mapping[str, str]
    resolved: Mapping[str, Any]
    software: Mapping[str, str]
    weights: Mapping[str, str]
    index: tuple[int, ...]
    label: tuple[int, ...]
    block: tuple[int, ...]
    variants: tuple[str, ...]
    draws: int
    correct: tuple[str, ...]
    protocol: str
    distance: tuple[float, ...]
    queries: tuple[int, ...]
    calls: Mapping[str, Mapping[str, tuple[int, int]]]
    trace: Mapping[str, tuple[float, ...]]
    timing: Mapping[str, Any]
    format: int = FORMAT
    certificate: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    gradient: str = ""
    points: str = ""
    rounded: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the fields."""
        data = asdict(self)
        for name in ("certificate", "gradient", *EXTRAS):
            if not data[name]:
                del data[name]
        return json.dumps(data, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Record:
        """The record in `text`.

        Raises:
            BenchError: damaged, foreign, of another format, or inconsistent in its lengths.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise BenchError(f"{where}: format {data['format']}, this version reads {FORMAT}")
            known = {f.name for f in fields(cls)}
            data = {key: _freeze(value) for key, value in data.items() if key in known}
            record = cls(**{**data, "cell": Cell(**data["cell"])})
            _check(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{where}: not a whole record ({type(error).__name__})") from None
        return record


def fingerprints(record: Record) -> dict[str, bytes]:
    """A hash of each field that the cell and its seeds decide.

    That is all but how it was asked for and how long it took, and EXTRAS and SEEN only where there
    are any.
    """
    fields = {**json.loads(record.to_json()), "timing": None, "asked": None}
    trace = fields["trace"]
    if "first_loss" not in trace and (
        seen := {key: trace.pop(key) for key in SEEN_OF_TRACE if key in trace}
    ):
        fields[SEEN] = seen
    texts = {name: json.dumps(value, sort_keys=True) for name, value in fields.items()}
    return {name: hashlib.sha256(text.encode()).digest()[:8] for name, text in texts.items()}


def contradictions(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Fields in which two records of one shard of one cell, by their `fingerprints`, differ."""
    lacking = {name for name in (*EXTRAS, SEEN) if name not in one or name not in other}
    names = dict.fromkeys((*one, *other))
    return [n for n in names if n not in lacking and one.get(n) != other.get(n)]


@dataclass(frozen=True)
class Planned:
    """One cell of a plan, with the labels that its row and column carry on a board."""

    cell: Cell
    defense: str
    attack: str
    control: bool = False


@dataclass(frozen=True)
class Skip:
    """A combination that a group reached and that cannot be, with its reason."""

    defense: str
    attack: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What one `bench run` asked for: a board is a plan whose cells are measured.

    images: per cell; only a whole subset may end in a shard of fewer than 32. command: the line
    that asks for it again. attacks: resolved attack -> what it says of itself. group: the group of
    attacks, asked for as a whole, that has a board of its own; else empty.

    Fields after `format` came later: empty ones are not written, and a plan without them was made
    before attacks said anything of themselves.
    """

    dataset: str
    subset: str
    threat: str
    preset: str
    images: int
    cells: tuple[Planned, ...]
    skips: tuple[Skip, ...] = ()
    command: str = ""
    format: int = field(default=FORMAT)
    attacks: Mapping[str, Facts] = field(default_factory=dict)
    group: str = ""

    @property
    def shards(self) -> int:
        """Shards per cell."""
        return shards_of(self.images)

    @property
    def name(self) -> str:
        """16 hex digits of the request alone: what attacks say of themselves may change."""
        text = replace(self, attacks={}, group="").to_json()
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Readable JSON."""
        data = asdict(self)
        data["attacks"] = {name: facts.told() for name, facts in self.attacks.items()}
        for name in ("attacks", "group"):
            if not data[name]:
                del data[name]
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Plan:
        """The plan in `text`; a BenchError when it is damaged."""
        try:
            data = json.loads(text)
            cells = tuple(Planned(**{**c, "cell": Cell(**c["cell"])}) for c in data["cells"])
            skips = tuple(Skip(**s) for s in data["skips"])
            if data["format"] != FORMAT or not int(data["images"]) > 0:
                raise ValueError("images")
            for planned in cells:
                planned.cell.plugins()
            told = data.get("attacks", {})
            attacks = {name: Facts.read(facts) for name, facts in told.items()}
            if not isinstance(data.get("group", ""), str):
                raise TypeError("group")
            return cls(**{**data, "cells": cells, "skips": skips, "attacks": attacks})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{where}: not a plan ({type(error).__name__})") from None
        except BenchError as error:
            raise BenchError(f"{where}: not a plan ({error})") from None


def shards_of(images: int) -> int:
    """Shards that hold so many images; only the last one may hold fewer than the others."""
    return -(-images // SHARD)


class Store:
    """A folder of result files. One writer at a time for each shard."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, Path]] = {}

    def path(self, planned: Planned, shard: int) -> Path:
        """Where the record of a shard lies: the folder that its cell has, by the digest alone.

        The names before the digest are for people: how the cell was first asked for.
        """
        cell = planned.cell
        records = self.root / cell.dataset / "records"
        if cell.dataset not in self._folders:
            known = sorted(records.glob("*/*/*/"))
            self._folders[cell.dataset] = {path.name: path for path in known}
        first = records / slug(planned.defense) / slug(planned.attack) / cell.digest
        return self._folders[cell.dataset].setdefault(cell.digest, first) / f"{shard:03d}.json"

    def write(self, planned: Planned, record: Record, points: bytes = b"") -> None:
        """Write a record whole: a temporary file beside it, then a rename; its points first."""
        if points:
            write_whole(self.points(planned.cell, record.shard), points)
        write_whole(self.path(planned, record.shard), record.to_json())

    def points(self, cell: Cell, shard: int) -> Path:
        """Where the attacked images of a shard lie, if they are stored."""
        return self.root / cell.dataset / "points" / cell.digest / f"{shard:03d}{POINTS}"

    def retire(self, planned: Planned, shard: int) -> None:
        """Move a shard's record and points aside, if any: nothing reads `<name>.stale`."""
        for path in (self.path(planned, shard), self.points(planned.cell, shard)):
            try:
                path.replace(path.with_name(f"{path.name}.stale"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise BenchError(f"cannot move {path} aside: {error.strerror or error}") from None

    def write_plan(self, plan: Plan) -> None:
        """Keep what was asked; the same request is the same file.

        What attacks say of themselves today takes the place of what they said before.
        """
        text = plan.to_json()
        path = self.root / plan.dataset / "plans" / f"{plan.name}.json"
        if not path.exists() or (plan.attacks and _read(path) != text):
            write_whole(path, text)

    def datasets(self) -> list[str]:
        """The data sets that anything was planned on, or measured."""
        found = (*self.root.glob("*/plans"), *self.root.glob("*/records"))
        return sorted({path.parent.name for path in found})

    def plans(self, dataset: str) -> list[Plan]:
        """Every plan of a data set, in a fixed order."""
        found = sorted((self.root / dataset / "plans").glob("*.json"))
        plans = [Plan.from_json(_read(path), str(path)) for path in found]
        for path, plan in zip(found, plans, strict=True):
            if plan.dataset != dataset:
                raise BenchError(f"{path}: a plan of data set '{plan.dataset}'; move it there")
        return plans

    def records(self, dataset: str) -> Iterator[Record]:
        """Every record of a data set, in a fixed order.

        Raises:
            BenchError: a damaged or foreign file, named.
        """
        yield from (record for _, record in self.files(dataset))

    def files(self, dataset: str) -> Iterator[tuple[Path, Record]]:
        """Every record of a data set with its file, in a fixed order; errors as in `records`."""
        for path in sorted((self.root / dataset / "records").rglob("*.json")):
            yield path, Record.from_json(_read(path), str(path))

    def read(self, planned: Planned, shard: int) -> Record | None:
        """The finished record of a shard of this very cell, or None.

        Raises:
            BenchError: the file is damaged or belongs to another cell.
        """
        path = self.path(planned, shard)
        if not path.exists():
            return None
        record = Record.from_json(_read(path), str(path))
        if record.cell != planned.cell or record.shard != shard:
            raise BenchError(f"{path}: belongs to another cell; move it away and run again")
        return record


def slug(label: str) -> str:
    """A label as a folder name: readable, portable, unique enough beside the digest."""
    return re.sub(r"[^A-Za-z0-9@+=.,-]", "_", label)[:80]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, then a rename.

    Raises:
        BenchError: the folder or the disk does not let it; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # Machines that share a folder may share a process number too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BenchError(f"{path}: not a text file; move it away and run again") from None
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    return tuple(map(_freeze, value)) if isinstance(value, list) else value


def _check_certificate(record: Record) -> None:
    if not record.certificate:
        return
    if set(record.certificate) != set(CERTIFICATE):
        raise ValueError("certificate")
    if any(len(values) != len(record.index) for values in record.certificate.values()):
        raise ValueError("lengths")


def _check(record: Record) -> None:
    images = len(record.index)
    rows = (*record.correct, *([record.protocol] if record.protocol else []))
    if not 0 < images <= SHARD or any(len(row) != images or set(row) - {"0", "1"} for row in rows):
        raise ValueError("verdicts")
    if len(record.correct) != max(1, len(record.variants)) * record.draws:
        raise ValueError("draws")
    if not len(record.label) == len(record.block) == len(record.distance) == images:
        raise ValueError("lengths")
    if any(len(values) not in (0, images) for values in (record.queries, *record.trace.values())):
        raise ValueError("lengths")
    _check_certificate(record)
    if record.rounded and tuple(map(len, record.rounded)) != tuple(map(len, record.correct)):
        raise ValueError("lengths")
    if not isinstance(record.points, str) or any(set(row) - {"0", "1"} for row in record.rounded):
        raise ValueError("points")
    for phases in record.calls.values():
        if any(min(forward, backward) < 0 for forward, backward in phases.values()):
            raise ValueError("calls")
    if not isinstance(record.timing, Mapping):
        raise TypeError("timing")
    if not all(isinstance(text, str) for text in (*record.weights, *record.weights.values())):
        raise TypeError("weights")
