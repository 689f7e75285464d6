"""Figures to PNG and SVG: the same bytes each time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
DPI = 160
# What matplotlib would write of itself and of the clock.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}
MORE: dict[str, dict[str, Any]] = {".png": {"pil_kwargs": {"optimize": True}}, ".svg": {}}


def encode(figure: Figure, suffix: str) -> bytes:
    """The bytes of a file of that suffix."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "purifybench"}):
        figure.savefig(
            buffer, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix], **MORE[suffix]
        )
    return buffer.getvalue()
