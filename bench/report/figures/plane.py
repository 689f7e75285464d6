"""Where images go in a plane of features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.report.figures.data import Journey, Trajectories
from bench.report.figures.style import COLUMN, GREY, RIGHT, WRONG, blank, caption, picture, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = (("clean", "o", 10), ("attacked", "X", 22), ("purified", "^", 22))


@picture
def plane(chart: Trajectories) -> Figure:
    """Clean, attacked and purified points, the way between the last two as a line."""
    from matplotlib.lines import Line2D

    said = room_for(chart.caption, COLUMN)
    figure = blank(COLUMN, COLUMN + 0.4 + said)
    axes = figure.subplots()
    for journey in chart.journeys:
        _journey(axes, journey)
    _class_names(axes, chart)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("t-SNE, first coordinate (no unit)")
    axes.set_ylabel("t-SNE, second coordinate (no unit)")
    for spine in axes.spines.values():
        spine.set_visible(True)
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=GREY, label=name, markersize=4)
        for name, marker, _ in STAGES
    ]
    handles += [
        Line2D([], [], color=RIGHT, linewidth=3, label="classified right"),
        Line2D([], [], color=WRONG, linewidth=3, label="classified wrong"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    caption(figure, chart.caption)
    return figure


def _journey(axes: Axes, journey: Journey) -> None:
    path = journey.path
    axes.plot(path[:, 0], path[:, 1], color=GREY, linewidth=0.5, alpha=0.6, zorder=1)
    ends = (journey.clean, path[0], path[-1])
    right = (journey.right[0], journey.right[1], journey.right[-1])
    for (x, y), good, (_, marker, size) in zip(ends, right, STAGES, strict=True):
        colour = RIGHT if good else WRONG
        axes.scatter(
            x, y, s=size, marker=marker, color=colour, linewidths=0.3, edgecolors="white", zorder=2
        )


def _class_names(axes: Axes, chart: Trajectories) -> None:
    """The name of each class over the median of its clean images."""
    for name in dict.fromkeys(chart.label):
        mine = [j.clean for j, own in zip(chart.journeys, chart.label, strict=True) if own == name]
        axes.annotate(
            name,
            tuple(np.median(np.stack(mine), axis=0)),
            xytext=(0, 9),
            textcoords="offset points",
            fontsize=7,
            ha="center",
            zorder=3,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.6},
        )
