"""Figures to PNG and SVG: the same bytes each time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, nearest

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


def check_suffix(path: Path) -> None:
    """Refuse a file that is no picture.

    Raises:
        BenchError: what is allowed, and the nearest.
    """
    if path.suffix not in SUFFIXES:
        hint = nearest(path.suffix, SUFFIXES)
        raise BenchError(f"--out '{path}' does not end in one of {', '.join(SUFFIXES)}{hint}")


def encode(figure: Figure, suffix: str) -> bytes:
    """The bytes of a file of that suffix."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "purifybench"}):
        figure.savefig(
            buffer, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix], **MORE[suffix]
        )
    return buffer.getvalue()
