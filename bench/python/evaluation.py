"""What `bench.evaluate` gives back: the figures of one defense, and all that stands behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bench.boards.analysis import Analysis, percent
from bench.boards.board import Row
from bench.boards.spec import load_spec
from bench.boards.tidy import tidy_board
from bench.python.frames import framed
from bench.spec import NO_ATTACK
from bench.stats import Figure

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One defense, measured. Accuracies are fractions with their 95 % intervals.

    analysis: the board that it stands on, with its base and controls. row: its own row. flags: what
    to know and to doubt, in sentences: other networks, more images than asked, alarms, notes.
    failures: attacks without a number, and why. folder: the records.
    """

    analysis: Analysis
    row: Row
    flags: tuple[str, ...]
    failures: Mapping[str, str]
    folder: Path

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Accuracy under each attack that has a number, by its name."""
        return {name: entry.figure for name, entry in self.row.numbers.items()}

    @property
    def worst(self) -> Figure | None:
        """Accuracy in the worst case: per image over clean and every attack within the ball.

        None where no attack within it was measured, or one of them has no number.
        """
        found = self.analysis.worst.get(self.row.label)
        return found.figure if found and not found.missing and not self.failures else None

    @property
    def clean(self) -> float | None:
        """Accuracy without an attack."""
        figure = self.figures.get(NO_ATTACK)
        return figure.value if figure else None

    @property
    def robust(self) -> float | None:
        """Accuracy in the worst case."""
        return self.worst.value if self.worst else None

    def frame(self) -> pd.DataFrame:
        """Every number of the board, bases and controls too, one a line; accuracies in percent."""
        return framed(tidy_board(self.analysis, load_spec(self.analysis.board.dataset)))

    def save(self, folder: str | Path) -> None:
        """Copy the records to a folder, which may hold others: `bench table --results` reads it.

        Raises:
            BenchError: the folder has other records of the same shards.
        """
        from bench.results.merge import merge

        merge([self.folder], Path(folder))

    def __str__(self) -> str:
        """The row, and below it what to doubt."""
        cells = [f"{name} {text}" for name, text in self._cells().items()]
        board = self.analysis.board
        head = f"{self.row.label} on {board.images} images of {board.dataset}, {board.threat}"
        return "\n".join((f"{head}: {', '.join(cells)}", *self._doubts()))

    def _repr_html_(self) -> str:
        """The row as a table, for notebooks."""
        cells = self._cells()
        head = "".join(f"<th>{escape(name)}</th>" for name in ("defense", *cells))
        body = "".join(f"<td>{escape(text)}</td>" for text in (self.row.label, *cells.values()))
        doubts = "".join(f"<li>{escape(text)}</li>" for text in self._doubts())
        table = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
        return table + (f"<ul>{doubts}</ul>" if doubts else "")

    def _cells(self) -> dict[str, str]:
        worst = {"worst case": self.worst} if self.worst else {}
        return {name: _text(figure) for name, figure in (self.figures | worst).items()}

    def _doubts(self) -> list[str]:
        failed = [f"no number under {name}: {why}" for name, why in self.failures.items()]
        return [*failed, *self.flags]


def _text(figure: Figure) -> str:
    return f"{percent(figure.value)} [{percent(figure.low)}, {percent(figure.high)}]"
