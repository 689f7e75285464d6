"""Tidy CSV: one line per (defense, attack, threat, metric), percent."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from bench.analysis import FIELDS


def render(rows: Sequence[Mapping[str, str]]) -> str:
    """A header and the rows, with `\\n` line ends."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
