"""One shard of one cell as measured, how it is written as JSON, and when it is whole. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from bench.errors import BenchError
from bench.results.seal import CHECKSUM, BrokenError, require_sealed, sealed

FORMAT = 1
SHARD = 32
"""Images of one shard, the unit of work and of storage."""
CERTIFICATE = ("label", "copies", "radius")
"""What a certificate says of each image."""
RESUBMIT = ("attacked", "untouched", "steps", "tries")
"""What resubmission says: right tries before the first wrong one of each image, and how many."""
WHOLE = 5
"""Versions of a cell, at least: of judge, data set, purifier, classifier and attack."""
EXTRAS = ("points", "rounded")
"""Fields of a record that two records of one shard need not both have."""
DRAWS, SPREAD = "draws of a gradient", ("gradient_variance", "half_cosine", "turning_signs")
"""Of a trace: how far the draws of a gradient differ, which older records do not have."""
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

    def told(self) -> dict[str, Any]:
        """Its fields by name."""
        return {name: getattr(self, name) for name in CELL}

    @cached_property
    def digest(self) -> str:
        """16 hex digits that name the cell's folder and seed its randomness."""
        text = json.dumps(self.told(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plugins(self) -> dict[str, int]:
        """The version of every plug-in that took part, and of the judge; ValueError if damaged.

        The classifier, which stands before the attack, has an `@` as in the name of a defense: a
        purifier may be called the same.
        """
        texts = self.versions.split(",")
        if len(texts) >= WHOLE:
            texts[-2] = f"@{texts[-2]}"
        pairs = (text.rpartition("=") for text in texts)
        return {name: int(version) for name, _, version in pairs}


CELL = tuple(f.name for f in fields(Cell))
"""What tells cells apart."""


@dataclass(frozen=True)
class Record:
    """One shard of one cell, as measured. Everything outside `timing` is reproducible.

    correct: one text of `0`/`1` per (variant, draw), variant-major, a character per image.
    protocol: the attack's own verdict in the same form, or empty.
    distance: perturbation norm per image (the largest over variants).
    queries: deployed predictions per image that the attack asked, or empty.
    calls: network -> {attack, judge} -> [forward, backward] images.
    trace: first and last loss and share of zero gradients per image, where the attack tells; first
    and last cosine between exact and BPDA gradient, where an attack compared them; of the draws of
    a gradient, where an attack compared those, means over its looks of the share of a draw that is
    variance, of the cosine between two halves, and of the share of signs that twice as many would
    turn; share of zero gradients that the judge saw where the attack tells nothing, share of NaN
    gradients, whether the classifier answers in probabilities (1), and the share of its answers
    whose softmax is one class alone, only where they are not 0.
    certificate: `label` (-1: abstained), `copies` and `radius` (l2) per image, or empty.
    gradient: through what the attack followed it, where that depends on the defense, or empty.
    points: sha256 of the file of its attacked images, where they are stored, and then rounded: the
    verdicts, as in `correct` and on the same draws, once those images are rounded to 8 bits.
    resubmit: where candidates were tried many times, how many predictions of each image were right
    before the first wrong one, of the candidates (`attacked`) and of the image (`untouched`), with
    the number of `steps` and of `tries` at each; or empty.
    code: a digest of the code of each of the project's own plug-ins that took part.

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
    code: Mapping[str, str] = field(default_factory=dict)
    resubmit: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the fields, then the checksum.

        Raises:
            BenchError: a number that is not finite, which JSON does not know.
        """
        data = asdict(self)
        for name in ("certificate", "gradient", *EXTRAS, "code", "resubmit"):
            if not data[name]:
                del data[name]
        try:
            return json.dumps(sealed(data), separators=(",", ":"), allow_nan=False) + "\n"
        except ValueError:
            raise BenchError("a record with a number that is not finite") from None

    def checked(self) -> Record:
        """This record, as it would be read back.

        Raises:
            BenchError: it would not be: something in it is missing, negative or not finite.
        """
        return Record.from_json(self.to_json(), "what was measured")

    @classmethod
    def from_json(cls, text: str, where: str, *, unsealed: bool = False) -> Record:
        """The record in `text`; unsealed: even one without a checksum.

        Raises:
            BrokenError: damaged, inconsistent, or edited since it was written.
            BenchError: of another format.
        """
        try:
            data = json.loads(text, parse_constant=_refuse)
            if data["format"] != FORMAT:
                raise BenchError(f"{where}: format {data['format']}, this version reads {FORMAT}")
            read = {key: _freeze(value) for key, value in data.items() if key in RECORD}
            record = cls(**{**read, "cell": Cell(**read["cell"])})
            _check(record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
            raise BrokenError(f"{where}: not a whole record ({reason})") from None
        require_sealed(data, where, unsealed=unsealed)
        return record


RECORD = frozenset(f.name for f in fields(Record))
"""What of a stored record this version knows."""


def fingerprints(record: Record) -> dict[str, bytes]:
    """A hash of each field that the cell and its seeds decide.

    That is all but how it was asked for, how long it took and with which code, and EXTRAS, SEEN
    and SPREAD only where there are any.
    """
    fields = {**json.loads(record.to_json()), "timing": None, "asked": None, CHECKSUM: None}
    fields.pop("code", None)
    trace = fields["trace"]
    if apart := {key: trace.pop(key) for key in SPREAD if key in trace}:
        fields[DRAWS] = apart
    if "first_loss" not in trace and (
        seen := {key: trace.pop(key) for key in SEEN_OF_TRACE if key in trace}
    ):
        fields[SEEN] = seen
    texts = {name: json.dumps(value, sort_keys=True) for name, value in fields.items()}
    return {name: hashlib.sha256(text.encode()).digest()[:8] for name, text in texts.items()}


def contradictions(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Fields in which two records of one shard of one cell, by their `fingerprints`, differ."""
    lacking = {name for name in (*EXTRAS, SEEN, DRAWS) if name not in one or name not in other}
    names = dict.fromkeys((*one, *other))
    return [n for n in names if n not in lacking and one.get(n) != other.get(n)]


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _freeze(v) if isinstance(v, list | dict) else v for k, v in value.items()}
    if not isinstance(value, list):
        return value
    flat = {*map(type, value)}.isdisjoint((list, dict))
    return tuple(value) if flat else tuple(map(_freeze, value))


def _refuse(constant: str) -> None:
    raise ValueError(f"the number {constant}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _whole(values: Any, least: int | None = 0) -> bool:
    """Whether these are whole numbers, none below the least."""
    found = list(values)
    return {*map(type, found)} <= {int} and (least is None or min(found, default=least) >= least)


def _real(values: Any, least: float = -math.inf) -> bool:
    """Whether these are finite numbers, none below the least."""
    found = list(values)
    numbers = {*map(type, found)} <= {int, float} and all(map(math.isfinite, found))
    return numbers and min(found, default=least) >= least


def _texts(found: Any) -> bool:
    """Whether this names texts by texts."""
    return isinstance(found, Mapping) and all(isinstance(v, str) for v in found.values())


def _check(record: Record) -> None:
    """ValueError, TypeError or AttributeError for what no measurement gives."""
    images = len(record.index)
    cell = record.cell.told()
    _require(_whole([cell.pop("seed")], None) and _texts(cell) and bool(cell), "cell")
    record.cell.plugins()
    _require(_whole([record.shard]) and _whole([record.draws], 1), "shard or draws")
    for name in ("asked", "software", "weights", "code"):
        _require(_texts(getattr(record, name)), name)
    _require(isinstance(record.resolved, Mapping), "resolved")
    _require(0 < images <= SHARD and len(set(record.index)) == images, "images")
    for name in ("index", "label", "queries"):
        _require(_whole(getattr(record, name)), name)
    _require(_whole(record.block, None) and _real(record.distance, 0), "block or distance")
    _require(len(record.label) == len(record.block) == len(record.distance) == images, "lengths")
    _require(len(record.queries) in (0, images), "length of queries")
    _check_verdicts(record, images)
    _check_certificate(record, images)
    _check_tries(record, images)
    _require(isinstance(record.gradient, str) and isinstance(record.points, str), "points")
    for phases in record.calls.values():
        _require(all(len(pair) == 2 and _whole(pair) for pair in phases.values()), "calls")
    for name, values in record.trace.items():
        _require(len(values) in (0, images) and _real(values), f"trace {name}")
    kinds = {name: type(value) for name, value in record.timing.items()}
    _require(set(kinds.values()) <= {str, int, float}, "timing")
    _require(_real(v for v in record.timing.values() if not isinstance(v, str)), "timing")
    _require("seconds" not in kinds or kinds["seconds"] is not str, "timing")


def _check_verdicts(record: Record, images: int) -> None:
    for name in ("correct", "rounded", "variants"):
        row = getattr(record, name)
        _require(isinstance(row, tuple) and all(isinstance(text, str) for text in row), name)
    _require(isinstance(record.protocol, str), "protocol")
    rows = (*record.correct, *record.rounded, *([record.protocol] if record.protocol else []))
    _require(all(len(row) == images and set(row) <= {"0", "1"} for row in rows), "verdicts")
    names = len(record.variants)
    _require(len(set(record.variants)) == names, "variants")
    _require(len(record.correct) == max(1, names) * record.draws, "number of draws")
    _require(len(record.rounded) in (0, len(record.correct)), "lengths of rounded")


def _check_certificate(record: Record, images: int) -> None:
    if not record.certificate:
        return
    _require(set(record.certificate) == set(CERTIFICATE), "certificate")
    _require(all(len(v) == images for v in record.certificate.values()), "certificate lengths")
    _require(_whole(record.certificate["label"], -1), "certificate label")
    _require(_whole(record.certificate["copies"]), "certificate copies")
    _require(_real(record.certificate["radius"], 0), "certificate radius")


def _check_tries(record: Record, images: int) -> None:
    found = record.resubmit
    if not found:
        return
    _require(set(found) == set(RESUBMIT), "resubmit")
    _require(len(found["steps"]) == len(found["tries"]) == 1, "resubmit numbers")
    _require(_whole((*found["steps"], *found["tries"]), 1), "resubmit numbers")
    most = found["steps"][0] * found["tries"][0]
    for name in ("attacked", "untouched"):
        _require(len(found[name]) == images and _whole(found[name]), f"resubmit {name}")
        _require(max(found[name]) <= most, f"resubmit {name}")
