"""Numbers in groups as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.figures.data import Estimates
from bench.report.figures.style import COLOURS, COLUMN, SMALL, blank, caption, picture, room_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@picture
def estimates(chart: Estimates) -> Figure:
    """A bar for each number, its value and the range of repetitions beside it."""
    count = sum(len(numbers) for _, numbers in chart.groups) + len(chart.groups)
    figure = blank(COLUMN, 0.5 + 0.2 * count + room_for(chart.caption, COLUMN))
    axes = figure.subplots()
    most = max(number.high for _, numbers in chart.groups for number in numbers) or 1.0
    place, ticks, names = 0, list[int](), list[str]()
    for group, numbers in chart.groups:
        axes.text(0, place, f" {group}", va="center", fontsize=SMALL, fontweight="bold")
        for number in numbers:
            place += 1
            ticks.append(place)
            names.append(number.label)
            axes.barh(place, number.value, 0.7, color=COLOURS[int(number.attacked)], alpha=0.7)
            axes.plot([number.low, number.high], [place, place], color="black", linewidth=0.8)
            end = max(number.high, number.value) + 0.02 * most
            axes.text(end, place, f"{number.value:.2f}", va="center", fontsize=SMALL)
        place += 1
    axes.set_yticks(ticks, names)
    axes.set_ylim(place - 0.5, -0.6)
    axes.set_xlim(0, 1.2 * most)
    axes.set_xlabel(chart.x_label)
    caption(figure, chart.caption)
    return figure
