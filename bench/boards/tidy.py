"""A board's numbers as tidy rows, one figure each, with what was published beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bench.boards.analysis import (
    WORST,
    Analysis,
    analyse,
    draws_text,
    extra,
    extras,
    numbers,
    p_text,
    percent,
)
from bench.boards.board import Board, Entry, Row
from bench.boards.pairs import deviation
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec, how_to_run
from bench.boards.worst import Item, Worst
from bench.literature.claims import (
    ACCURACY,
    Claim,
    Literature,
    PublishedFigures,
    differences,
    fewer,
    headline,
)
from bench.stats import Figure, verdict

FIELDS = (
    *("dataset", "subset", "preset", "defense", "attack", "threat", "metric"),
    *("measured", "low", "high", "n", "seeds", "draws"),
    *("forwards", "backwards", "seconds_per_image", "reported", "external", "verdict", "note"),
    *("rank", "group"),
)


def tidy(boards: list[Board], spec: BoardSpec, dataset: str) -> list[dict[str, str]]:
    """One row per (defense, attack, threat, metric), all text, keys as FIELDS.

    Rows of the boards, then what was published and no board holds. Of a board that leaves attacks
    out, only the worst case: its other figures stand on the board with these attacks.
    """
    rows = [
        row
        for board in boards
        for row in tidy_board(analyse(board), spec)
        if not board.without or row["attack"] == WORST
    ]
    rows += tidy_published(boards, spec, dataset)
    nothing = {"dataset": dataset, "note": f"nothing measured; run: {how_to_run(dataset)}"}
    return rows or _padded([nothing])


def tidy_board(analysis: Analysis, spec: BoardSpec) -> list[dict[str, str]]:
    """The rows of one board."""
    return _padded(_tidy_board(analysis, spec))


def tidy_published(boards: list[Board], spec: BoardSpec, dataset: str) -> list[dict[str, str]]:
    """The rows of what was published and stands on none of a data set's boards."""
    return _padded(unmeasured(boards, spec.published, dataset))


def _padded(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{name: row.get(name, "") for name in FIELDS} for row in rows]


def _tidy_board(analysis: Analysis, spec: BoardSpec) -> Iterator[dict[str, str]]:
    board = analysis.board
    extras(entry for row in board.rows for entry in row.numbers.values())
    for row in ranked(board, analysis.worst):
        for column in (*board.columns, WORST):
            item = analysis.item(row, column)
            base = {
                "dataset": board.dataset,
                "subset": board.subset,
                "preset": board.preset,
                "defense": row.label,
                "attack": column,
                "threat": board.threat if column == WORST else board.threat_of(column),
                "group": board.group,
            }
            if item is None:
                note = analysis.why_blank(row, column)
                there = spec.published.of((row.asked, column, base["threat"]))
                yield base | {"metric": ACCURACY, "note": note} | published_cells(there, note)
                continue
            base |= _size(board, item)
            yield base | _headline(analysis, spec, row, column, item)
            more = extra(item).named() if isinstance(item, Entry) else {}
            for metric, figure in more.items():
                there = spec.published.of((row.asked, column, item.threat), metric)
                cells = published_cells(there) | verdicts(there, figure, board)
                yield base | {"metric": metric} | numbers(figure) | cells
            if (row.label, column) in analysis.against:
                test, p = analysis.against[row.label, column]
                control = analysis.best[column, row.classifier]
                note = f"minus {control}; {test.test}, p after Holm {p_text(p)}"
                cells = {"metric": "difference to best control", "note": note}
                yield base | cells | numbers(test.difference)


def _headline(
    analysis: Analysis, spec: BoardSpec, row: Row, column: str, item: Item
) -> dict[str, str]:
    cells = {"metric": ACCURACY} | numbers(item.figure)
    if column == WORST and row.label in analysis.rank:
        cells["rank"] = str(analysis.rank[row.label])
    notes = []
    if item.missing:
        notes.append(f"upper bound: not over {', '.join(item.missing)}")
    spread = deviation(item)
    if spread is not None:
        notes.append(f"deviation over seeds {percent(spread)}")
    there = spec.published.of((row.asked, column, item.threat))
    if there.reported:
        notes.append(fewer(analysis.board.images, there.reported))
    cells |= {"note": "; ".join(notes)} | verdicts(there, item.figure, analysis.board)
    return cells | published_cells(there, *notes)


def _size(board: Board, item: Item) -> dict[str, str]:
    cells = {"n": str(board.images), "seeds": str(len(item.by_seed))}
    if isinstance(item, Worst):
        return cells
    seconds = item.cost.seconds
    return cells | {
        "draws": draws_text(item),
        "forwards": f"{item.cost.forwards:.1f}",
        "backwards": f"{item.cost.backwards:.1f}",
        "seconds_per_image": "" if seconds is None else f"{seconds:.3g}",
    }


def published_cells(there: PublishedFigures, *notes: str) -> dict[str, str]:
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
                    **published_cells(found),
                }
            )
    return rows
