"""Accuracy against a setting, a radius or a severity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.report.figures.data import Axis, Chart, Panel, Series
from bench.report.figures.style import (
    COLOURS,
    COLUMN,
    MARKERS,
    PAGE,
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

DODGE, SPREAD = 1.3, 9.0
"""Points (1/72 inch) between the markers of two series at the same x; at most, of all of them."""
FEW = 6
"""Series of a picture that is one column wide."""
ACROSS = 5
"""Panels in a row, at most."""
TICKS = 9


@picture
def lines(chart: Chart) -> Figure:
    """Every panel with its series, 95 % intervals as bars, the legend above and outside."""
    count = len(chart.panels)
    across = min(count, ACROSS)
    down = -(-count // across)
    labels = list(dict.fromkeys(s.label for panel in chart.panels for s in panel.series))
    width = COLUMN if count == 1 and len(labels) <= FEW else PAGE
    columns = _legend_columns(labels, width)
    legend = 0.17 * -(-len(labels) // columns)
    said = room_for(chart.caption, width)
    tall = 0.3 + 1.15 * down if count > 1 else 2.1 if width == COLUMN else 3.0
    figure = blank(width, tall + legend + said)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    looks = _looks([s for panel in chart.panels for s in panel.series])
    for place, axes in enumerate(grid.flat):
        if place >= count:
            axes.set_axis_off()
            continue
        _panel(axes, chart.panels[place], looks, chart.axis)
        percent_axis(axes, chart.y_label if place == 0 and down == 1 else "")
    grid[-1, (across - 1) // 2].set_xlabel(chart.axis.label)
    if down > 1:
        figure.supylabel(chart.y_label, fontsize=8)
    handles = {h.get_label(): h for a in grid.flat for h in a.get_legend_handles_labels()[0]}
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside upper left",
        ncols=columns,
        columnspacing=1,
        handlelength=1.8,
    )
    caption(figure, chart.caption)
    return figure


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """As many as fit beside each other."""
    longest = max(map(len, labels), default=1)
    return max(1, min(len(labels), int(width / (0.056 * longest + 0.45))))


def _looks(series: Sequence[Series]) -> dict[str, dict[str, Any]]:
    """Colour and marker by label; those in the background are dashed and pale."""
    found: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(s.same or s.label for s in series))
    for s in series:
        place = names.index(s.same or s.label)
        look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)]}
        look["marker"] = MARKERS[place % len(MARKERS)]
        if s.aside:
            look |= {"linestyle": (0, (3, 2)), "alpha": 0.6}
        found[s.label] = look
    return found


def _panel(axes: Axes, panel: Panel, looks: dict[str, dict[str, Any]], axis: Axis) -> None:
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    _x_axis(axes, panel, axis)
    middle = (len(panel.series) - 1) / 2
    dodge = min(DODGE, SPREAD / max(1, len(panel.series))) / 72
    for place, series in enumerate(panel.series):
        look = dict(looks[series.label])
        if series.stairs:
            x, y = zip(*series.stairs, strict=True)
            style = look.get("linestyle", "-")
            shares = [100 * v for v in y]
            axes.plot(x, shares, drawstyle="steps-pre", color=look["color"], linestyle=style)
            look["linestyle"] = "none"
        shift = (place - middle) * dodge
        aside = axes.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
        with_intervals(axes, series.points, label=series.label, transform=aside, **look)
    axes.set_title(panel.title)


def _x_axis(axes: Axes, panel: Panel, axis: Axis) -> None:
    """A scale that leaves room at both ends; ticks where points are, if they are few."""
    from matplotlib.ticker import FixedLocator, NullLocator

    xs = sorted({p.x for s in panel.series for p in s.points} | {x for x, _ in axis.ticks})
    if axis.log:
        axes.set_xscale("log")
        room = (xs[-1] / xs[0]) ** 0.06 if xs[-1] > xs[0] else 1.5
        axes.set_xlim(xs[0] / room, xs[-1] * room)
    else:
        last = max([xs[-1], *(x for s in panel.series for x, _ in s.stairs)])
        room = 0.06 * (last - xs[0]) or 0.5
        axes.set_xlim(xs[0] - room, last + room)
    texts = dict(axis.ticks)
    if texts or (len(xs) <= TICKS and not any(s.stairs for s in panel.series)):
        axes.xaxis.set_major_locator(FixedLocator(xs))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(xs, [texts.get(x, f"{x:g}") for x in xs])
