"""One shard of one cell as measured, how it is written as JSON, and when it is whole. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bench.errors import BenchError

FORMAT = 1
SHARD = 32
"""Images of one shard, the unit of work and of storage."""
CERTIFICATE = ("label", "copies", "radius")
"""What a certificate says of each image."""
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
