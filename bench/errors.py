"""The one exception that a user sees as a single line, foreign text made fit, the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


class BenchError(Exception):
    """A mistake of the user or a broken input: printed as one line, exit code 2."""

    def __init__(self, message: str) -> None:
        """Names and texts of others may stand in it: what moves a terminal's cursor is left out."""
        super().__init__("".join(c if c.isprintable() else " " for c in message))


_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", re.DOTALL)


def plain(text: object, most: int = 80) -> str:
    """A text of somebody else, fit for a message: no terminal escapes, in one line, cut."""
    visible = _ESCAPE.sub(" ", str(text)[: 4 * most])
    line = " ".join("".join(c if c.isprintable() else " " for c in visible).split())
    return line if len(line) <= most else f"{line[:most]} ..."


def told(error: BaseException) -> str:
    """What happened, in one line: a BenchError's own words, else the exception's name and text."""
    try:
        text = str(error)
    except Exception:  # an exception of a plug-in may fail even at saying what it is
        text = ""
    whole = text if isinstance(error, BenchError) else f"{type(error).__name__}: {text}"
    return plain(whole, 500)


def nearest(name: str, options: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing when no option is close."""
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown(kind: str, name: str, options: Iterable[str]) -> BenchError:
    """The error for a name that no one has registered: what was wrong, what is allowed."""
    names = sorted(set(options))
    return BenchError(
        f"unknown {kind} '{plain(name)}'{nearest(name, names)} (known: {_listed(names)})"
    )


def _listed(names: Sequence[str], most: int = 600) -> str:
    """Names with commas; of more than `most` characters the first, and how many more there are."""
    shown = ", ".join(names) or "none"
    if len(shown) <= most:
        return shown
    first = shown[:most].rpartition(", ")[0]
    return f"{first} and {len(names) - first.count(', ') - 1} more"


def require_suffix(out: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file to write that ends in none of these; what is allowed, and the nearest."""
    if out.suffix not in suffixes:
        hint = nearest(out.suffix, suffixes)
        raise BenchError(f"--out '{out}' does not end in one of {', '.join(suffixes)}{hint}")
