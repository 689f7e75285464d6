"""How every picture looks: sizes for one column of a paper, colours that everyone tells apart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.report.figures.data import Point, Spot

P = ParamSpec("P")

COLUMN, PAGE = 3.5, 7.0
"""Inches across: one column, and both."""
# Okabe and Ito 2008, without the yellow, which is too light on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG, GREY = "#0072B2", "#D55E00", "#6E6E6E"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""As many as have no common divisor with the colours: 56 different pairs."""
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
}
SMALL = 6.5
PER_INCH = 20
"""Letters of the caption in an inch."""


@contextmanager
def styled() -> Iterator[None]:
    """Inside, what matplotlib makes looks like this."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        cast(Any, mpl.rcParams).update(SETTINGS)
        yield


def picture(make: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that makes a figure, in this style and no other."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with styled():
            figure = make(*args, **kwargs)
            figure.draw_without_rendering()  # lays it out while the style holds
        return figure

    return made


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, laid out without overlaps."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    return Figure(figsize=(width, height), layout=engine)


def caption(figure: Figure, text: str) -> int:
    """Write the caption below everything; the number of its lines."""
    width = figure.get_size_inches()[0]
    lines = textwrap.wrap(text, round(width * PER_INCH), break_long_words=False)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=SMALL, color=GREY)
    return len(lines)


def room_for(text: str, width: float) -> float:
    """Inches that a caption takes below a picture of that width."""
    return 0.11 * (1 + len(text) / (width * PER_INCH))


def percent_axis(axes: Axes, label: str) -> None:
    """y from 0 to 100 with faint lines."""
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def with_intervals(axes: Axes, points: Sequence[Point | Spot], **look: Any) -> None:
    """Shares in percent, their intervals as bars; upper bounds are hollow."""
    shares = [100 * p.share.value for p in points]
    down = [100 * max(0.0, p.share.value - p.share.low) for p in points]
    up = [100 * max(0.0, p.share.high - p.share.value) for p in points]
    bars: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7}
    axes.errorbar([p.x for p in points], shares, yerr=(down, up), **bars, **look)
    hollow = {key: look[key] for key in ("marker", "color", "transform") if key in look}
    for point, share in zip(points, shares, strict=True):
        if point.bound:
            axes.plot(point.x, share, markerfacecolor="white", zorder=3, **hollow)
