"""Where the points and labels of a plot of accuracy against cost stand; no label on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 880, 440
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 16, 46
LINE = 15
"""Height of a label's line."""
CHARACTER = 6.3
"""Width that a character of a label is given, a little more than most have."""
LONGEST = 40
"""Characters of a label; longer ones are cut, and whole in the point's title."""
MARK = 6
REACH = 24
"""How many lines up and down a label may be moved."""


@dataclass(frozen=True)
class Point:
    """One row: its cost (over 0) and its accuracy with the interval's ends, fractions."""

    label: str
    kind: str
    cost: float
    value: float
    low: float
    high: float
    title: str = ""


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def hits(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True)
class Mark:
    """A point in the picture; `text` is None where no room was left for its label.

    leader: the line from point to label (x1, y1, x2, y2), where the label stands apart.
    """

    point: Point
    x: float
    y: float
    low: float
    high: float
    text: Box | None
    leader: tuple[float, float, float, float] | None

    @property
    def label(self) -> str:
        """The label as it is shown."""
        return _shown(self.point.label)


@dataclass(frozen=True)
class Plot:
    """Everything of the picture in its own coordinates. ticks: (place, text)."""

    marks: tuple[Mark, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


def plot(points: Sequence[Point]) -> Plot | None:
    """The picture of these points, or None where there are none. The cost axis is logarithmic."""
    if not points:
        return None
    first, last = _decades(points)
    placed = [
        (point, _x(point.cost, first, last), _y(point.value), _y(point.low), _y(point.high))
        for point in sorted(points, key=lambda p: (-p.value, p.cost, p.label))
    ]
    taken = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for _, x, y, _, _ in placed]
    marks = []
    for point, x, y, low, high in placed:
        box, leader = _label(_shown(point.label), x, y, taken)
        if box:
            taken.append(box)
        marks.append(Mark(point, x, y, low, high, box, leader))
    across = ((_x(10.0**k, first, last), f"{10**k:,}" if k >= 0 else f"{10.0**k:g}") for k in
              range(first, last + 1))
    up = ((_y(share / 100), str(share)) for share in range(0, 101, 20))
    return Plot(tuple(marks), tuple(across), tuple(up))


def _decades(points: Sequence[Point]) -> tuple[int, int]:
    """Powers of ten around every cost, at least one decade."""
    costs = [math.log10(point.cost) for point in points]
    first = math.floor(min(costs) + 1e-9)
    return first, max(first + 1, math.ceil(max(costs) - 1e-9))


def _x(cost: float, first: int, last: int) -> float:
    # Room on both sides: most rows cost one call, at the left end.
    share = (math.log10(cost) - first + 0.12) / (last - first + 0.24)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)


def _shown(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def _label(
    text: str, x: float, y: float, taken: Sequence[Box]
) -> tuple[Box | None, tuple[float, float, float, float] | None]:
    """The first free place for a label, the nearest first, and the line that leads to it."""
    width = round(CHARACTER * len(text), 1)
    for left, middle in _places(x, y, width):
        box = Box(left, middle - LINE / 2, round(left + width, 1), middle + LINE / 2)
        inside = LEFT <= box.left and box.right <= WIDTH and 0 <= box.top
        if inside and box.bottom <= HEIGHT - BOTTOM and not any(map(box.hits, taken)):
            near = box.left if left > x else box.right
            apart = abs(middle - y) > LINE / 2
            return box, (x, y, near, middle) if apart else None
    return None, None


def _places(x: float, y: float, width: float) -> Iterator[tuple[float, float]]:
    """Left edge and middle of a label: beside the point, then further and further up and down."""
    for step in range(REACH):
        away = MARK + 3 + (10 if step else 0)
        for sign in (1, -1) if step else (1,):
            middle = round(y - sign * step * LINE, 1)
            yield round(x + away, 1), middle
            yield round(x - away - width, 1), middle
