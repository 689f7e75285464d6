"""Where a classifier is right around one image, and the ways of its attacked versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.report.figures.data import Floats, Journey, Regions
from bench.report.figures.style import (
    GREY,
    MARKERS,
    PAGE,
    RIGHT,
    WRONG,
    blank,
    caption,
    picture,
    room_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, MARGIN = 200, 0.08
"""Squares across, and what lies around the outermost points."""


@picture
def regions(chart: Regions) -> Figure:
    """A plane for each panel: colours by the nearest point, a line and a marker for each attack."""
    from matplotlib.lines import Line2D

    said = room_for(chart.caption, PAGE)
    figure = blank(PAGE, 0.65 * PAGE / len(chart.panels) + 0.5 + said)
    for axes, (title, ways) in zip(
        figure.subplots(1, len(chart.panels), squeeze=False)[0], chart.panels, strict=True
    ):
        _plane(axes, ways)
        axes.set_title(title)
        axes.set_xlabel("t-SNE, first coordinate (no unit)")
    figure.axes[0].set_ylabel("t-SNE, second coordinate (no unit)")
    handles = [
        Line2D([], [], linestyle="none", marker="*", color="black", label="natural"),
        *(
            Line2D([], [], color=GREY, marker=marker, markerfacecolor="white", label=name)
            for name, marker in zip(chart.labels, _markers(len(chart.labels)), strict=True)
        ),
        Line2D([], [], color=RIGHT, linewidth=4, alpha=0.5, label="classified right"),
        Line2D([], [], color=WRONG, linewidth=4, alpha=0.5, label="classified wrong"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    caption(figure, chart.caption)
    return figure


def nearest(points: Floats, right: list[bool], xs: Floats, ys: Floats) -> np.ndarray:
    """Whether the nearest of `points` [N,2] is right, for every place [len(ys),len(xs)]."""
    least = np.full((len(ys), len(xs)), np.inf)
    found = np.zeros(least.shape, dtype=bool)
    for (x, y), good in zip(points, right, strict=True):
        far = (xs[None] - x) ** 2 + (ys[:, None] - y) ** 2
        found = np.where(far < least, good, found)
        least = np.minimum(far, least)
    return found


def _markers(count: int) -> list[str]:
    return [MARKERS[place % len(MARKERS)] for place in range(count)]


def _plane(axes: Axes, ways: tuple[Journey, ...]) -> None:
    clean = ways[0].clean
    points = np.concatenate([clean[None], *(way.path for way in ways)])
    right = [ways[0].right[0], *(good for way in ways for good in way.right[1:])]
    room = MARGIN * np.ptp(points, axis=0)
    low, high = points.min(0) - room, points.max(0) + room
    xs, ys = (np.linspace(low[i], high[i], SIDE) for i in (0, 1))
    axes.contourf(
        xs,
        ys,
        nearest(points, right, xs, ys).astype(float),
        levels=[-0.5, 0.5, 1.5],
        colors=[WRONG, RIGHT],
        alpha=0.3,
    )
    for way, marker in zip(ways, _markers(len(ways)), strict=True):
        axes.plot(way.path[:, 0], way.path[:, 1], color=GREY, linewidth=0.6)
        axes.scatter(
            way.path[:, 0],
            way.path[:, 1],
            s=_sizes(len(way.path)),
            marker=marker,
            c=[RIGHT if good else WRONG for good in way.right[1:]],
            zorder=2,
            linewidths=0.3,
            edgecolors="white",
        )
    axes.scatter(clean[0], clean[1], s=60, marker="*", color="black", zorder=3)
    axes.set_xticks([])
    axes.set_yticks([])


def _sizes(points: int) -> list[int]:
    """The attacked image and the last step are larger."""
    return [30 if place in (0, points - 1) else 10 for place in range(points)]
