"""Alarms say that an attack is doubtful; notes say what a defense is. Only from records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.boards import CLEAN, SUBMITTED, Board, Entry, Row, mean_over, paired
from bench.metrics import accuracy, cost, rounded
from bench.stats import Comparison, Floats, compare

# What an attack may look at decides which figures contradict each other.
BLACK_BOX = ("square", "spsa", "transfer")
BLIND = ("classifier-pgd",)
MIXED = ("autoattack", SUBMITTED)

ZERO_SHARE = 0.05
VARYING_SHARE = 0.01


@dataclass(frozen=True)
class Flag:
    """One sentence about a row, or about one of its columns (`attack`, else empty)."""

    kind: Literal["alarm", "note"]
    defense: str
    attack: str
    text: str


def flags(board: Board) -> list[Flag]:
    """Every alarm, then every note of a board, in the order of its rows."""
    found = [flag for row in board.rows for flag in (*_alarms(board, row), *_notes(board, row))]
    return sorted(found, key=lambda flag: flag.kind)


def _alarms(board: Board, row: Row) -> Iterator[Flag]:
    entries = row.complete()
    for name, entry in entries.items():
        yield from (Flag("alarm", row.label, name, text) for text in _doubts(entry))
    clean = next((entry for entry in entries.values() if entry.threat == CLEAN), None)
    for name, entry in entries.items():
        above = paired(entry, clean) if clean and entry.threat == board.threat else None
        if above and above.difference.low > 0:
            yield Flag(
                "alarm",
                row.label,
                name,
                "accuracy under attack is above clean accuracy beyond the interval: "
                "the attack moves images the wrong way",
            )
    yield from _contradictions(board, row)


def _doubts(entry: Entry) -> Iterator[str]:
    zero, rise = _trace(entry, "zero_gradients"), _rise(entry)
    robust = entry.values > 0.5
    if zero is not None and robust.any():
        share = float(((zero > 0.5) & robust).mean())
        if share > ZERO_SHARE:
            yield (
                f"the gradient is exactly zero in most steps on {100 * share:.1f} % of the images, "
                "which stay right: masked gradients, not robustness"
            )
    if rise is not None and robust.any() and float(rise[robust].mean()) <= 0:
        yield "the loss does not rise over the attack on the images that stay right"


def _contradictions(board: Board, row: Row) -> Iterator[Flag]:
    """Attacks that know less, and yet do more than the best one that knows more."""
    entries = {n: e for n, e in row.complete().items() if e.threat == board.threat}
    weak = {n: e for n, e in entries.items() if _base(n) in BLACK_BOX + BLIND}
    strong = {n: e for n, e in entries.items() if n not in weak and _base(n) not in MIXED}
    if not strong:
        strong = {n: e for n, e in weak.items() if _base(n) in BLIND}
        weak = {n: e for n, e in weak.items() if n not in strong}
    if not strong:
        return
    best = min(strong, key=lambda name: float(strong[name].values.mean()))
    for name, entry in weak.items():
        gap = paired(strong[best], entry)
        if gap and gap.difference.low > 0:
            yield Flag(
                "alarm",
                row.label,
                name,
                f"knows less than {best} and yet leaves {100 * gap.difference.value:.1f} points "
                "less accuracy: the gradients that the adaptive attacks use mislead them",
            )


def _notes(board: Board, row: Row) -> Iterator[Flag]:
    entries = row.complete()
    if any(_varies(entry) for entry in entries.values()):
        yield Flag(
            "note", row.label, "", "random inference: the same image gets different predictions"
        )
    calls = max((cost(list(e.seeds.values())).prediction for e in entries.values()), default=0.0)
    if calls > 1.5:
        yield Flag(
            "note",
            row.label,
            "",
            f"iterative inference: one prediction asks {calls:.0f} network calls per image",
        )
    for name, entry in entries.items():
        coarse = rounding(entry)
        if coarse is not None and (said := eight_bits_change(coarse)):
            yield Flag("note", row.label, name, said)
        if _base(name) == SUBMITTED:
            yield Flag("note", row.label, name, "points that somebody submitted, in a file")
    gaps = [name for name, entry in row.entries.items() if not entry.complete]
    if gaps:
        yield Flag("note", row.label, "", f"not complete: {', '.join(gaps)}")


def rounding(entry: Entry) -> Comparison | None:
    """Accuracy on the attacked images in 8 bits minus accuracy, where every seed has both."""
    found = [rounded(measured) for measured in entry.seeds.values()]
    known = [values for values in found if values is not None]
    if not known or len(known) < len(found):
        return None
    return compare(mean_over(known), entry.values, entry.any.block)


def eight_bits_change(coarse: Comparison) -> str:
    """What rounding attacked images to 8 bits does, where it is beyond the paired interval."""
    points = 100 * coarse.difference.value
    if coarse.difference.low > 0:
        return (
            "the attack does not survive 8 bits: on its images rounded to k/255 accuracy is "
            f"{points:.1f} points higher"
        )
    if coarse.difference.high < 0:
        return f"on its images rounded to k/255 accuracy is another {-points:.1f} points lower"
    return ""


def _varies(entry: Entry) -> bool:
    for measured in entry.seeds.values():
        verdicts = measured.verdicts
        if float((verdicts.any(axis=1) & ~verdicts.all(axis=1)).mean()) > VARYING_SHARE:
            return True
    return False


def _trace(entry: Entry, key: str) -> Floats | None:
    """Per-image values of a trace [N], averaged over seeds; None where any record has none."""
    rows = []
    for measured in entry.seeds.values():
        parts = [record.trace.get(key, ()) for record in measured.records]
        values = np.array([value for part in parts for value in part], dtype=np.float64)
        if len(values) != len(accuracy(measured)):
            return None
        rows.append(values)
    mean: Floats = np.mean(rows, axis=0)
    return mean


def _rise(entry: Entry) -> Floats | None:
    first, last = _trace(entry, "first_loss"), _trace(entry, "last_loss")
    return None if first is None or last is None else last - first


def _base(label: str) -> str:
    return label.partition(":")[0]
