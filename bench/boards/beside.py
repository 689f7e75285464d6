"""What was published, beside what a board measured: cells of tidy rows, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from bench.boards.board import Board
from bench.literature.claims import (
    Claim,
    Literature,
    PublishedFigures,
    differences,
    headline,
)
from bench.stats import Figure, verdict


def cells(there: PublishedFigures, *notes: str) -> dict[str, str]:
    """`reported`, `external` and `note` of a tidy row, after the notes that it has; or nothing."""
    found = {"reported": there.reported.value} if there.reported else {}
    if there.external:
        found["external"] = there.external.text
    return {**found, "note": "; ".join((*filter(None, notes), there.note))} if found else {}


def verdicts(there: PublishedFigures, figure: Figure, board: Board) -> dict[str, str]:
    """`verdict` of a tidy row, where there is a printed value to hold the figure against."""
    return {"verdict": held_against(there.reported, figure, board)} if there.reported else {}


def held_against(claim: Claim, figure: Figure, board: Board) -> str:
    """What a figure of `board` says of a published value."""
    differs = differences(claim, board.subset, board.preset)
    return verdict(figure, claim.low / 100, differs)


def unmeasured(
    boards: Iterable[Board], published: Literature, dataset: str
) -> list[dict[str, str]]:
    """A tidy row for each published experiment and metric that stands on no board."""
    there = {
        (row.asked, name, entry.threat)
        for board in boards
        for row in board.rows
        for name, entry in row.entries.items()
    }
    rows = []
    for where, claims in published.claims.items():
        for metric in () if where in there else dict.fromkeys(headline(c.metric) for c in claims):
            found = published.of(where, metric)
            first = found.reported or claims[0]
            rows.append(
                {
                    **{"dataset": dataset, "subset": first.subset, "preset": first.preset},
                    **dict(zip(("defense", "attack", "threat"), where, strict=True)),
                    "metric": metric,
                    **cells(found),
                }
            )
    return rows
