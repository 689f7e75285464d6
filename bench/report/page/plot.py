"""Where the points and labels of a plot of accuracy against cost stand; no label on another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

WIDTH, HEIGHT = 880, 440
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 16, 46
LINE = 15
"""Height of a label's line."""
CHARACTER = 6.9
"""Width that a character of a label is given, a little more than most have."""
LONGEST = 40
"""Characters of a label; longer ones are cut, and whole in the point's title."""
MARK = 6
NEAR = 16
"""Points this near to each other across have their labels in one column."""
APART = 60
"""Points of such a column that stand further apart begin another one."""
LIFTS = 12
"""How many lines such a column may be moved up, off what stands at the bottom."""
REACH = 24
"""How many lines up and down a label may be moved."""


@dataclass(frozen=True)
class Dot:
    """One row: its cost (over 0) and its accuracy with the interval's ends, fractions.

    bound: the accuracy is an upper bound.
    """

    label: str
    kind: str
    cost: float
    value: float
    low: float
    high: float
    title: str = ""
    bound: bool = False


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

    point: Dot
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
class Pair:
    """The line between two points; label: the row that it belongs to."""

    label: str
    ends: tuple[float, float, float, float]
    title: str


@dataclass(frozen=True)
class Plot:
    """Everything of the picture in its own coordinates. across, up: (place, text) of the axes."""

    marks: tuple[Mark, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    pairs: tuple[Pair, ...] = ()


def plot(points: Sequence[Dot], pairs: Mapping[tuple[str, str], str] | None = None) -> Plot | None:
    """The picture of these points, or None where there are none. The cost axis is logarithmic.

    pairs: labels of two points that a line joins, the first of them whose it is -> its title.
    """
    if not points:
        return None
    first, last = _decades(points)
    placed = [
        (point, _x(point.cost, first, last), _y(point.value), _y(point.low), _y(point.high))
        for point in sorted(points, key=lambda p: (-p.value, p.cost, p.label))
    ]
    taken = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for _, x, y, _, _ in placed]
    boxes: dict[int, Box] = {}
    for group in _groups([(x, y) for _, x, y, _, _ in placed]):
        spots = [(placed[k][1], placed[k][2], _width(placed[k][0])) for k in group]
        column = _together(spots, taken)
        for place, k in enumerate(group):
            box = column[place] if column else _alone(*spots[place], taken)
            if box:
                boxes[k] = box
                taken.append(box)
    marks = tuple(
        Mark(point, x, y, low, high, boxes.get(k), _leader(x, y, boxes.get(k)))
        for k, (point, x, y, low, high) in enumerate(placed)
    )
    across = (
        (_x(10.0**k, first, last), f"{10**k:,}" if k >= 0 else f"{10.0**k:g}")
        for k in range(first, last + 1)
    )
    up = ((_y(share / 100), str(share)) for share in range(0, 101, 20))
    at = {mark.point.label: (mark.x, mark.y) for mark in marks}
    joined = (Pair(a, (*at[a], *at[b]), title) for (a, b), title in (pairs or {}).items())
    return Plot(marks, tuple(across), tuple(up), tuple(joined))


def _decades(points: Sequence[Dot]) -> tuple[int, int]:
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


def _width(point: Dot) -> float:
    return round(CHARACTER * len(_shown(point.label)), 1)


def _groups(spots: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Places of points that stand near to each other, the largest group first, from the top down.

    spots: x and y of points from the top down.
    """
    across = sorted(range(len(spots)), key=lambda k: spots[k])
    columns = _runs(across, lambda k, before: spots[k][0] - spots[before][0] > NEAR)
    groups = [
        group
        for column in columns
        for group in _runs(sorted(column), lambda k, before: spots[k][1] - spots[before][1] > APART)
    ]
    return sorted(groups, key=len, reverse=True)


def _runs(places: Iterable[int], ends: Callable[[int, int], bool]) -> list[list[int]]:
    """`places` cut wherever `ends(one, the one before)`."""
    runs: list[list[int]] = []
    for k in places:
        if runs and not ends(k, runs[-1][-1]):
            runs[-1].append(k)
        else:
            runs.append([k])
    return runs


def _together(spots: Sequence[tuple[float, float, float]], taken: Sequence[Box]) -> list[Box]:
    """Labels of a group as one column in the points' order, so that no leaders cross; or none.

    spots: x and y of each point from the top down, and the width of its label.
    """
    if len(spots) < 2:
        return []
    right = max(x for x, _, _ in spots) + MARK + 3
    left = min(x for x, _, _ in spots) - MARK - 3
    for lift, away in product(range(LIFTS), (6, 16, 30)):
        middles = _spread([y for _, y, _ in spots], lift)
        edges = [[right + away] * len(spots), [left - away - width for _, _, width in spots]]
        for column in edges:
            boxes = [
                _box(edge, middle, width)
                for edge, middle, (_, _, width) in zip(column, middles, spots, strict=True)
            ]
            if all(_free(box, taken) for box in boxes):
                return boxes
    return []


def _spread(middles: Sequence[float], lift: int) -> list[float]:
    """Heights a line apart, in order and near to those asked for (pooled violators).

    lift: lines at the bottom of the picture that are left free.
    """
    blocks: list[list[float]] = []
    for k, middle in enumerate(middles):
        blocks.append([middle - k * LINE, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    starts = [start for start, count in blocks for _ in range(int(count))]
    highest = HEIGHT - BOTTOM - LINE / 2 - (len(middles) - 1 + lift) * LINE
    # Rounded before lines are added: neighbours touch, and no rounding makes them overlap.
    firsts = [round(max(LINE / 2, min(start, highest)), 1) for start in starts]
    return [first + k * LINE for k, first in enumerate(firsts)]


def _alone(x: float, y: float, width: float, taken: Sequence[Box]) -> Box | None:
    """The first free place for a label: beside its point, then further and further up and down."""
    for step in range(REACH):
        away = MARK + 3 + (10 if step else 0)
        for sign in (1, -1) if step else (1,):
            for left in (x + away, x - away - width):
                box = _box(left, y - sign * step * LINE, width)
                if _free(box, taken):
                    return box
    return None


def _box(left: float, middle: float, width: float) -> Box:
    return Box(
        *(round(each, 1) for each in (left, middle - LINE / 2, left + width, middle + LINE / 2))
    )


def _free(box: Box, taken: Sequence[Box]) -> bool:
    inside = box.left >= LEFT and box.right <= WIDTH and box.top >= 0
    return inside and box.bottom <= HEIGHT - BOTTOM and not any(map(box.hits, taken))


def _leader(x: float, y: float, box: Box | None) -> tuple[float, float, float, float] | None:
    """The line from a point to its label, where the label does not stand beside it."""
    if box is None:
        return None
    near = box.left if box.left > x else box.right
    middle = round((box.top + box.bottom) / 2, 1)
    beside = abs(middle - y) <= LINE / 2 and abs(near - x) <= 2 * MARK
    return None if beside else (x, y, near, middle)
