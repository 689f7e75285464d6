"""Tidy CSV: one line per figure, percent."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence


def render(rows: Sequence[Mapping[str, str]], fields: Sequence[str]) -> str:
    """A header of `fields` and the rows, with `\\n` line ends."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
