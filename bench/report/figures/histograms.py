"""How samples are distributed, one attack beside the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.figures.data import Bars, Histograms
from bench.report.figures.style import COLOURS, COLUMN, PAGE, blank, caption, picture, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 30
ACROSS = 3


@picture
def histograms(chart: Histograms) -> Figure:
    """Densities over common bins: attacked and not by colour, purified ones as outlines."""
    count = len(chart.panels)
    across = min(count, ACROSS)
    down = -(-count // across)
    width = COLUMN if count == 1 else PAGE
    said = room_for(chart.caption, width)
    figure = blank(width, 0.45 + 1.6 * down + said)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    every = np.concatenate([bars.values for _, sample in chart.panels for bars in sample])
    edges = np.linspace(every.min(), every.max(), BINS + 1)
    for place, axes in enumerate(grid.flat):
        if place >= count:
            axes.set_axis_off()
            continue
        _panel(axes, *chart.panels[place], edges)
        below = place + across >= count
        axes.tick_params(labelbottom=below)
        axes.set_xlabel(chart.x_label if below else "")
        axes.set_ylabel("" if place % across else "density")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    columns = 2 if count == 1 else 4
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)
    caption(figure, chart.caption)
    return figure


def _panel(axes: Axes, title: str, sample: Sequence[Bars], edges: np.ndarray) -> None:
    for bars in sample:
        colour = COLOURS[1] if bars.attacked else COLOURS[0]
        look: dict[str, Any] = {"histtype": "stepfilled", "facecolor": colour, "alpha": 0.45}
        if bars.purified:
            line = "--" if bars.attacked else "-"
            look = {"histtype": "step", "edgecolor": colour, "linewidth": 1.2, "linestyle": line}
        axes.hist(bars.values, bins=edges.tolist(), density=True, label=bars.label, **look)
    axes.set_title(title)
