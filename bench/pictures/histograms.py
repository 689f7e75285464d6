"""How samples are distributed, one attack beside the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.pictures.data import Histograms
from bench.pictures.style import COLOURS, COLUMN, PAGE, PER_INCH, blank, caption, picture

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
    said = 0.11 * (1 + len(chart.caption) / (width * PER_INCH))
    figure = blank(width, 0.45 + 1.6 * down + said)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    every = np.concatenate([bars.values for _, sample in chart.panels for bars in sample])
    edges = np.linspace(every.min(), every.max(), BINS + 1)
    for place, axes in enumerate(grid.flat):
        if place < count:
            _panel(axes, chart, place, edges)
            below = place + across >= count
            axes.tick_params(labelbottom=below)
            if below:
                axes.set_xlabel(chart.x_label)
            if place % across == 0:
                axes.set_ylabel("density")
        else:
            axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    columns = 2 if count == 1 else 4
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)
    caption(figure, chart.caption)
    return figure


def _panel(axes: Axes, chart: Histograms, place: int, edges: np.ndarray) -> None:
    title, sample = chart.panels[place]
    for bars in sample:
        colour = COLOURS[1] if bars.attacked else COLOURS[0]
        look: dict[str, Any]
        if bars.purified:
            look = {"histtype": "step", "edgecolor": colour, "linewidth": 1.2}
            look |= {"linestyle": "--" if bars.attacked else "-"}
        else:
            look = {"histtype": "stepfilled", "facecolor": colour, "alpha": 0.45}
        axes.hist(bars.values, bins=edges.tolist(), density=True, label=bars.label, **look)
    axes.set_title(title)
