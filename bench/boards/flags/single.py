"""What one measurement shows of its own attack: the traces and distances of its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bench.boards.board import Entry, mean_over
from bench.boards.flags.knowledge import UNBOUNDED, empty, radius
from bench.boards.metrics import Bools, rounded
from bench.results.store import Record
from bench.stats import Figure, Floats, difference

SHARE = 0.05
"""Part of all images from which on something is worth an alarm."""
ELSEWHERE = 0.5
"""Cosine below which a gradient is more across the other one than along it: beyond 60 degrees."""
TURNING = 0.1
"""Part of a step's signs that more draws may turn before they are too few."""
WRONG = 0.1
"""Error of a slope, of the larger one, from which on a gradient is not that of the loss. A kink
between the points that the slope is taken from explains less."""
BORDER = 0.99
"""Part of eps from which on a point is at the border of its ball."""


def doubts(entry: Entry) -> Iterator[str]:
    """Sentences on why the figure of one attack may be too high."""
    robust = entry.values > 0.5
    if robust.mean() <= SHARE:
        return
    zero, nan = trace(entry, "zero_gradients"), trace(entry, "nan_gradients")
    stuck = 0.0 if zero is None else float(((zero > 0.5) & robust).mean())
    lost = 0.0 if nan is None else float(((nan > 0) & robust).mean())
    if stuck > SHARE:
        yield (
            f"the gradient is exactly zero in most steps on {100 * stuck:.1f} % of the images, "
            "which stay right: masked gradients, not robustness"
        )
    if lost > SHARE:
        yield (
            f"the gradient is not a number on {100 * lost:.1f} % of the images, which stay right: "
            "the attack has no direction there"
        )
    first, last = trace(entry, "first_loss"), trace(entry, "last_loss")
    rise = None if first is None or last is None else float((last - first)[robust].mean())
    if rise is not None and rise <= 0 and not empty(entry.threat):
        yield "the loss does not rise over the attack on the images that stay right"
    inside = _inside(entry, robust)
    if first is not None and max(stuck, lost) <= SHARE and inside > 0.5:
        yield (
            f"{100 * inside:.1f} % of the points that stay right lie inside of the ball, not at "
            "its border: the attack does not use its budget"
        )


def no_logits(entries: Mapping[str, Entry]) -> Iterator[str]:
    """Sentences on a classifier whose outputs are not logits that cross entropy can climb."""
    if any((v := trace(e, "probabilities")) is not None and v.all() for e in entries.values()):
        yield (
            "the classifier hands out probabilities where logits are expected: softmax of them is "
            "flat, and attacks by cross entropy climb a bent loss"
        )
    shares = [v.mean() for e in entries.values() if (v := trace(e, "saturated")) is not None]
    if shares and max(shares) > SHARE:
        yield (
            f"softmax is exactly 0 for every class but one in {100 * max(shares):.1f} % of the "
            "predictions: logits so large leave cross entropy without a gradient"
        )


def compared_gradients(entry: Entry) -> str:
    """How far BPDA's gradient points where the exact one does, where an attack compared them."""
    first, last = (trace(entry, key) for key in ("first_cosine", "last_cosine"))
    if first is None or last is None:
        return ""
    ends = float(first.mean()), float(last.mean())
    low = min(ends)
    said = (
        f"(mean cosine with the exact one {ends[0]:.2f} at the images, {ends[1]:.2f} where the "
        "search ends)"
    )
    if low < ELSEWHERE:
        return (
            f"BPDA's gradient points elsewhere {said}: what BPDA leaves right says little, the "
            "exact gradient decides"
        )
    return f"BPDA's gradient points much where the exact one does {said}"


def wrong_gradients(entry: Entry) -> str:
    """That the exact gradient is not that of the loss, where a check found it so."""
    error = trace(entry, "gradient_error")
    if error is None or float((error > WRONG).mean()) <= SHARE:
        return ""
    return (
        "the exact gradient is not that of the loss: differences of the loss disagree on "
        f"{100 * (error > WRONG).mean():.1f} % of the images, so attacks along it say little"
    )


def checked_gradients(entry: Entry) -> str:
    """How far the exact gradient is from differences of the loss, where it was checked."""
    error = trace(entry, "gradient_error")
    if error is None:
        return ""
    return (
        f"the exact gradient against differences of the loss in float64: {np.median(error):.1g} of "
        f"the slope apart on the middle image, {error.max():.1g} at most"
    )


def few_draws(entry: Entry) -> str:
    """Whether twice as many draws would still turn the signs of an attack's steps.

    On the images that stay right, where there are any: the others need no more.
    """
    turning, halves = (trace(entry, key) for key in ("turning_signs", "half_cosine"))
    if turning is None or halves is None:
        return ""
    counted = entry.values > 0.5 if (entry.values > 0.5).any() else entry.values >= 0
    share = float(turning[counted].mean())
    if share <= TURNING:
        return ""
    return (
        f"twice as many EOT draws would still turn {100 * share:.0f} % of the signs of a step "
        f"(mean cosine between two halves of the draws {float(halves[counted].mean()):.2f}): "
        "raise eot"
    )


def protocol_differs(entry: Entry) -> Iterator[str]:
    """A sentence where a deterministic defense was judged otherwise during the attack than after.

    A random one may: a protocol that counts any failure is another figure.
    """
    measured = list(entry.seeds.values())
    verdicts = [m.protocol for m in measured if m.protocol is not None and m.draws == 1]
    if not verdicts or len(verdicts) < len(measured):
        return
    during: Floats = np.mean(verdicts, axis=0, dtype=np.float64)
    gap = difference(during, entry.values, entry.block)
    if gap.low > 0 or gap.high < 0:
        yield (
            f"accuracy during the attack is {100 * gap.value:+.1f} points beside that after it, "
            "though the defense is deterministic: one of the two is not of the same predictions"
        )


def rounding(entry: Entry) -> Figure | None:
    """Accuracy on the attacked images in 8 bits minus accuracy, where every seed has both."""
    found = [rounded(measured) for measured in entry.seeds.values()]
    known = [values for values in found if values is not None]
    if not known or len(known) < len(found):
        return None
    return difference(mean_over(known), entry.values, entry.block)


def eight_bits_change(coarse: Figure) -> str:
    """What rounding attacked images to 8 bits does, where it is beyond the paired interval."""
    points = 100 * coarse.value
    if coarse.low > 0:
        return (
            "the attack does not survive 8 bits: on its images rounded to k/255 accuracy is "
            f"{points:.1f} points higher"
        )
    if coarse.high < 0:
        return f"on its images rounded to k/255 accuracy is another {-points:.1f} points lower"
    return ""


def trace(entry: Entry, key: str) -> Floats | None:
    """Per-image values of a trace [N], averaged over seeds; None where no record has it.

    0 in the shards without it, as long as others have it: what is written only where it is not 0.
    """
    seeds = [measured.records for measured in entry.seeds.values()]
    if not any(key in record.trace for records in seeds for record in records):
        return None
    rows = [np.concatenate([_of(record, key) for record in records]) for records in seeds]
    mean: Floats = np.mean(rows, axis=0)
    return mean


def _of(record: Record, key: str) -> Floats:
    values: Floats = np.array(record.trace.get(key) or [0.0] * len(record.index), dtype=np.float64)
    return values


def _inside(entry: Entry, robust: Bools) -> float:
    """Of the images that stay right, the part whose point is not at the border of an linf ball.

    0 where [0,1] may end before the ball does.
    """
    eps = radius(entry.threat)
    if not 0 < eps <= UNBOUNDED:
        return 0.0
    seeds = [[d for r in m.records for d in r.distance] for m in entry.seeds.values()]
    far = np.mean(np.array(seeds) >= BORDER * eps, axis=0)
    return float(1 - far[robust].mean())
