"""Accuracy against cost, a labelled point for each row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from bench.report.figures.data import Scatter, Spot
from bench.report.figures.style import (
    COLOURS,
    PAGE,
    SMALL,
    blank,
    caption,
    percent_axis,
    picture,
    room_for,
    with_intervals,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (
    ("defense", COLOURS[0], "o"),
    ("control", COLOURS[4], "s"),
    ("bare classifier", COLOURS[3], "D"),
)
"""What a point stands for, with its colour and marker."""
RADII = (7, 12, 18, 26, 36, 48, 62, 78)
ANGLES = (0, 25, -25, 50, -50, 180, 155, -155, 130, -130, 75, -75)
"""Where the middle of a label's near edge may stand around its point: in points and degrees."""
STRAYED = 15.0
"""What it costs to be nearer to another point than to one's own."""
CROWDED = {"label": 10.0, "marker": 6.0, "line": 3.0, "bar": 1.0, "outside": 20.0}
"""What it costs to stand on a square point of something, against a point of distance."""
Align = Literal["left", "right"]
Box = tuple[float, float, float, float]


@picture
def scatter(chart: Scatter) -> Figure:
    """Every point with its interval; labels where nothing else is, hollow upper bounds."""
    figure = blank(PAGE, 4.0 + room_for(chart.caption, PAGE))
    axes = figure.subplots()
    xs = [spot.x for spot in chart.spots]
    axes.set_xscale("log" if chart.axis.log else "linear")
    low, high = min(xs), max(xs)
    # Labels stand on the right of their points.
    axes.set_xlim(low / 3.5, high * max(2.2, (high / low) ** 0.15))
    percent_axis(axes, chart.y_label)
    axes.set_ylim(-6, 103)
    axes.set_xlabel(chart.axis.label)
    for kind, colour, marker in KINDS:
        spots = [spot for spot in chart.spots if spot.kind == kind]
        if spots:
            look = {"label": kind, "linestyle": "none", "marker": marker, "color": colour}
            with_intervals(axes, spots, **look)
    figure.legend(loc="outside upper left", ncols=len(KINDS))
    caption(figure, chart.caption)
    _place_labels(figure, axes, chart.spots)
    return figure


def _place_labels(figure: Figure, axes: Axes, spots: Sequence[Spot]) -> None:
    """Greedy, from the top: where the least is in the way, and near."""
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    boxes: list[tuple[str, Box]] = []
    places: list[tuple[float, float]] = []
    for spot in spots:
        shares = (spot.share.value, spot.share.low, spot.share.high)
        ends = [axes.transData.transform((spot.x, 100 * share)) for share in shares]
        (x, y), (_, low), (_, high) = ((float(across), float(up)) for across, up in ends)
        places.append((x, y))
        boxes.append(("marker", (x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit)))
        boxes.append(("bar", (x - unit, low, x + unit, high)))
    frame = axes.get_window_extent()
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    order = sorted(zip(spots, places, strict=True), key=lambda p: (-p[0].share.value, p[0].x))
    for spot, at in order:
        probe = axes.text(0, 0, spot.label, fontsize=SMALL)
        size = probe.get_window_extent()
        probe.remove()
        others = [place for place in places if place != at]
        best: tuple[float, tuple[float, float], Align, Box] | None = None
        for far, offset, align, box in _candidates(at, (size.width, size.height), unit):
            if best and far >= best[0]:
                continue
            new = [("label", box), *_line(at, offset, unit)]
            cost = far + _strayed(at, offset, others, unit) + _cost(new, boxes, inside, unit)
            if not best or cost < best[0]:
                best = (cost, offset, align, box)
        assert best is not None
        _, offset, align, box = best
        boxes += [("label", box), *_line(at, offset, unit)]
        note = axes.annotate(
            spot.label,
            (spot.x, 100 * spot.share.value),
            xytext=offset,
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=SMALL,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#555555", "shrinkA": 0}
            if offset[1]
            else None,
        )
        note.set_in_layout(False)  # what has been measured must stay where it is


def _candidates(
    at: Sequence[float], size: tuple[float, float], unit: float
) -> Iterator[tuple[float, tuple[float, float], Align, Box]]:
    """Distance, offset in points, alignment and box in pixels of every place for a label."""
    width, height = size
    for radius in RADII:
        for rank, angle in enumerate(ANGLES):
            right = radius * math.cos(math.radians(angle))
            up = radius * math.sin(math.radians(angle)) if angle % 180 else 0.0
            align: Align = "left" if right > 0 else "right"
            x, y = at[0] + right * unit, at[1] + up * unit
            left = x if align == "left" else x - width
            box = (left, y - height / 2, left + width, y + height / 2)
            yield radius + rank / 10, (right, up), align, box


def _strayed(
    at: Sequence[float],
    offset: tuple[float, float],
    others: Sequence[tuple[float, float]],
    unit: float,
) -> float:
    """Whether the near edge of a label is nearer to another point than to its own."""
    edge = (at[0] + offset[0] * unit, at[1] + offset[1] * unit)
    nearest = min((math.dist(edge, other) for other in others), default=math.inf)
    return STRAYED if nearest < math.dist(edge, at) else 0.0


def _line(
    at: tuple[float, float], offset: tuple[float, float], unit: float
) -> list[tuple[str, Box]]:
    """The line from a label to its point, where it has one, as small boxes."""
    if not offset[1]:
        return []
    steps = max(2, round(math.hypot(*offset) / 2))
    ends = ((n / steps * offset[0] * unit, n / steps * offset[1] * unit) for n in range(2, steps))
    return [
        ("line", (at[0] + x - unit, at[1] + y - unit, at[0] + x + unit, at[1] + y + unit))
        for x, y in ends
    ]


def _cost(
    new: Sequence[tuple[str, Box]], boxes: Sequence[tuple[str, Box]], inside: Box, unit: float
) -> float:
    """What a label (the first of `new`) and its line would stand on, weighed."""
    box = new[0][1]
    weighed = CROWDED["outside"] * (_area(box) - _overlap(box, inside))
    for kind, mine in new:
        for other, there in boxes:
            # A line may cross bars, and begins at its marker.
            if kind == "label" or other in ("label", "line"):
                weighed += CROWDED[kind if kind == "line" else other] * _overlap(mine, there)
    return weighed / unit**2


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    up = min(a[3], b[3]) - max(a[1], b[1])
    return across * up if across > 0 and up > 0 else 0.0
