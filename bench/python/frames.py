"""Records and published boards as pandas data frames."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.boards.tidy import FIELDS
from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("measured", "low", "high", "n", "seeds", "forwards", "backwards", "seconds_per_image")
"""Columns that are numbers; accuracies are percent."""


def load(path: str | Path) -> pd.DataFrame:
    """The numbers of a results folder, an archive of records, or a board's `.csv`.

    One line per (defense, attack, threat, metric), what was published beside it; columns as in the
    CSV of `bench table` (docs/formats.md).

    Raises:
        BenchError: nothing of that kind there.
    """
    path = Path(path)
    if not path.exists():
        raise BenchError(f"'{path}' does not exist")
    return framed(_of_csv(path) if path.suffix == ".csv" else _of_results(path))


def framed(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Tidy rows as a data frame: NUMBERS are floats, blank ones NaN, all else text."""
    import pandas as pd

    frame = pd.DataFrame([dict(row) for row in rows], columns=list(FIELDS))
    for name in NUMBERS:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _of_csv(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"'{path}' cannot be read ({type(error).__name__})") from None
    reader = csv.DictReader(text.splitlines())
    if missing := set(FIELDS) - set(reader.fieldnames or ()):
        raise BenchError(f"'{path}' is no board: it lacks {', '.join(sorted(missing))}")
    return list(reader)


def _of_results(path: Path) -> list[dict[str, str]]:
    from bench.boards.gather import boards
    from bench.boards.spec import load_spec
    from bench.boards.tidy import tidy
    from bench.results.archive import open_results

    if path.is_file() and path.suffix != ".xz":
        raise BenchError(f"'{path}' is no board's .csv, no archive (.jsonl.xz) and no folder")
    source = open_results(path)
    names = source.datasets()
    if not names:
        raise BenchError(f"there are no results in '{path}'")
    return [row for name in names for row in tidy(boards(source, name), load_spec(name), name)]
