"""Images on their way through a defense, pixel by pixel."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from bench.report.figures.data import Frame, Pixels, Strip, Strips
from bench.report.figures.style import PAGE, RIGHT, SMALL, WRONG, blank, caption, picture, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = 1.05
"""Inches for the name of a defense."""
NAME = 15
"""Letters of a name in a line of it."""
SMALL_IMAGE = 64
"""Pixels across."""
WIDE = 17
"""Letters of a class's name in an inch: wide ones must not push images apart."""


@picture
def strips(picture: Strips) -> Figure:
    """A row for each defense: its name and its verdict, then the frames with what they are called.

    The colour of a label says whether it is right, and so does the mark before it.
    """
    most = max(len(strip.frames) for strip in picture.strips)
    side = (PAGE - HEAD) / most
    said = room_for(picture.caption, PAGE)
    figure = blank(PAGE, len(picture.strips) * (side + 0.38) + said + 0.1)
    grid = figure.subplots(
        len(picture.strips),
        most + 1,
        squeeze=False,
        gridspec_kw={"width_ratios": [HEAD / side, *[1] * most]},
    )
    for row, strip in zip(grid, picture.strips, strict=True):
        for axes in row:
            axes.set_axis_off()
        _head(row[0], strip)
        # The purified image stands last, whatever the number of steps before it.
        count = len(strip.frames)
        places = [*row[1:count], row[-1]] if strip.purified else row[1 : count + 1]
        for axes, frame in zip(places, strip.frames, strict=True):
            _frame(axes, frame, side)
    caption(figure, picture.caption)
    return figure


def _head(axes: Axes, strip: Strip) -> None:
    text = re.sub(r"([:,@+])", r" \1", strip.name)
    lines = textwrap.wrap(text, NAME)
    name = "\n".join(re.sub(r" ([:,@+])", r"\1", line) for line in lines)
    axes.text(0, 1, name, fontsize=7, weight="bold", va="top", transform=axes.transAxes)
    label, _, sure = strip.verdict.partition("\n")
    said = f"{mark(strip.right)} {shortened(label, NAME + 2)}\n{sure}"
    colour = RIGHT if strip.right else WRONG
    axes.text(0, 0, said, fontsize=SMALL, color=colour, va="bottom", transform=axes.transAxes)


def shortened(text: str, room: int) -> str:
    """At most `room` letters of a name, the last one an ellipsis where it is cut."""
    return text if len(text) <= room else f"{text[: max(1, room - 1)]}\N{HORIZONTAL ELLIPSIS}"


def mark(right: bool) -> str:
    """What says without colour whether something is right."""
    return "\N{CHECK MARK}" if right else "\N{MULTIPLICATION SIGN}"


def _frame(axes: Axes, frame: Frame, side: float) -> None:
    shown = pixels(frame.image)
    # Small images keep their pixels; large ones are made smaller and would alias.
    how = "nearest" if max(shown.shape) <= SMALL_IMAGE else "antialiased"
    drawn = axes.imshow(shown, interpolation=how, cmap="gray", vmin=0, vmax=1)
    drawn.set_clip_on(
        False
    )  # a clip path has a random name in an SVG, and there is nothing to clip
    axes.set_title(frame.name, fontsize=SMALL, pad=2)
    if frame.label:
        label = shortened(frame.label, int(side * WIDE) - 2)
        said = f"{mark(frame.right)} {label}\n{100 * frame.confidence:.0f} %"
        axes.text(
            0.5,
            -0.04,
            said,
            fontsize=SMALL,
            color=RIGHT if frame.right else WRONG,
            ha="center",
            va="top",
            transform=axes.transAxes,
        )


def pixels(image: Pixels) -> Pixels:
    """[C,H,W] as matplotlib has it: [H,W,3], or [H,W] of one channel."""
    moved: Pixels = np.clip(image, 0, 1).transpose(1, 2, 0)
    return moved[:, :, 0] if moved.shape[2] == 1 else moved
