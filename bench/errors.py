"""The one exception that a user sees as a single line, and the search for the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake of the user or a broken input: printed as one line, exit code 2."""


def plain(text: object, most: int = 80) -> str:
    """A text of somebody else, fit for a message: printable, in one line, cut."""
    whole = str(text)
    shown = "".join(c if c.isprintable() else " " for c in whole[:most])
    return shown if len(whole) <= most else f"{shown} ..."


def nearest(name: str, options: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing when no option is close."""
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown(kind: str, name: str, options: Iterable[str]) -> BenchError:
    """The error for a name that no one has registered: what was wrong, what is allowed."""
    names = sorted(set(options))
    allowed = ", ".join(names) or "none"
    return BenchError(f"unknown {kind} '{plain(name)}'{nearest(name, names)} (known: {allowed})")
