"""A board as neutral tables of text: what every renderer lays out, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.boards.analysis import (
    WORST,
    Analysis,
    analyse,
    draws_text,
    extra,
    p_text,
    percent,
    range_text,
)
from bench.boards.board import CLEAN, CORRUPTION, Board, Entry, Item, Row, aside, deviation
from bench.boards.flags import flags
from bench.boards.ranking import ranked
from bench.boards.spec import BoardSpec, how_to_run
from bench.results.archive import ASSUMED, CONDITIONS
from bench.results.store import Record
from bench.spec import NO_ATTACK
from bench.stats import Figure
from bench.threat import CERTIFIED

PRESET_NOTES = {
    "quick": "quick: few steps, draws of noise and queries. It shows that everything works; "
    "the standard preset is what may be quoted.",
    "standard": "standard: the papers' steps and draws for gradient attacks; spsa, square and "
    "autoattack have the smaller budgets printed below. Where they say runs=1, a query asks one "
    "purification, a cheaper proxy of the deployed prediction.",
}


@dataclass(frozen=True)
class Table:
    """Text cells under a heading; `major` tables open a board."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    major: bool = False


@dataclass(frozen=True)
class Listing:
    """Lines under a heading, as a bulleted list or as commands."""

    heading: str
    lines: tuple[str, ...]
    commands: bool = False


@dataclass(frozen=True)
class Document:
    """A title, opening prose, and the boards' tables in order."""

    title: str
    prose: tuple[str, ...]
    blocks: tuple[Table | Listing, ...]


def document(boards: list[Board], spec: BoardSpec, dataset: str) -> Document:
    """Every board of a data set as one document; without boards, the line that fills it."""
    if not boards:
        how = Listing(
            "Nothing is measured yet; run", spec.how or (how_to_run(dataset),), commands=True
        )
        empty = Table(dataset, _header([NO_ATTACK]), (), major=True)
        return Document(spec.title, spec.prose, (empty, how))
    blocks = [block for board in boards for block in _board_blocks(analyse(board), boards)]
    return Document(spec.title, spec.prose, tuple(blocks))


def figure_text(found: Figure, sign: bool = False) -> str:
    """`83.2 [79.8, 86.1]`, percent."""
    low, high = percent(found.low, sign), percent(found.high, sign)
    return f"{percent(found.value, sign)} [{low}, {high}]"


def _board_blocks(analysis: Analysis, boards: list[Board]) -> Iterator[Table | Listing]:
    board = analysis.board
    rows = ranked(board, analysis.worst)
    yield _main(analysis, rows)
    yield from _corruption(board, rows)
    yield from _certified(board, rows)
    yield from _differences(analysis, rows)
    yield from _random(analysis, rows)
    found = flags(board, boards)
    for kind, heading in (("alarm", "Alarms: this figure is doubtful"), ("note", "Notes")):
        lines = tuple(f"{flag}." for flag in found if flag.kind == kind)
        if lines:
            yield Listing(heading, lines)
    blank = tuple(
        f"{row.label} under {column}: {reason}"
        for row in rows
        for column in (*board.columns, WORST)
        if (reason := analysis.why_blank(row, column))
    )
    if blank:
        yield Listing("Blank cells", blank)
    settings = tuple((_label(row), row.settings) for row in rows)
    yield Table("Settings of every row", ("defense", "resolved"), settings)
    yield Table("Settings of every column", ("attack", "resolved", "for"), _settings(board))
    commands = (*board.commands, f"bench table --dataset {board.dataset}")
    yield Listing("How to reproduce", commands, commands=True)
    yield from _made_with(board)


def _header(columns: Iterable[str]) -> tuple[str, ...]:
    size = ("n", "seeds", "draws", "calls per prediction", "forwards", "backwards")
    return ("defense", *columns, WORST, "rank", *size)


def _main(analysis: Analysis, rows: list[Row]) -> Table:
    board = analysis.board
    body = []
    for row in rows:
        figures = [analysis.item(row, column) for column in (*board.columns, WORST)]
        rank = str(analysis.rank.get(row.label, ""))
        body.append((_label(row), *(_cell(item) for item in figures), rank, *effort(board, row)))
    heading = f"{board.dataset}, {board.place}"
    return Table(heading, _header(board.columns), tuple(body), reading(analysis), major=True)


def reading(analysis: Analysis) -> tuple[str, ...]:
    """What the numbers of a board mean, a sentence or two for each kind that it has."""
    board = analysis.board
    notes = [
        "Accuracy in percent with its 95 % interval. Worst case: per image over clean and every "
        f"attack within {board.threat}; rows stand in its order.",
        "Rank: from 1 + the rows whose worst case is significantly better to n - those whose is "
        "worse, of n ranked rows (paired test at 5 %, Holm over all pairs).",
        "Network calls per image: one prediction of the defense; then forwards and backwards of "
        "all columns together, attack and judge.",
    ]
    if board.preset in PRESET_NOTES:
        notes.append(PRESET_NOTES[board.preset])
    notes += _aside(board) + _untold(board)
    if any(found.missing for found in analysis.worst.values()):
        notes.append(
            "<=: an attack is incomplete or was not asked of this row, so the worst case is an "
            "upper bound; it is compared with nothing."
        )
    return tuple(notes)


def _aside(board: Board) -> list[str]:
    """What columns of other threats are, where the board has them; corruptions have a table."""
    notes: dict[str, None] = {}
    for entry in (entry for row in board.rows for entry in row.entries.values()):
        if aside(entry.threat) and entry.threat != CORRUPTION:
            what = entry.facts.aside if entry.facts else ""
            what = what or f"within {entry.threat}, a threat of its own"
            name = entry.attack.partition(":")[0]
            notes[f"{name}: {what}; it is no part of the worst case."] = None
    return list(notes)


def _untold(board: Board) -> list[str]:
    """Which columns stand in no comparison of attacks, because their plans are older than those."""
    entries = (entry for row in board.rows for entry in row.complete().values())
    names = dict.fromkeys(e.attack for e in entries if not e.facts and e.threat == board.threat)
    if not names:
        return []
    return [
        f"Planned before attacks said what they know: {', '.join(names)}. Alarms that compare "
        "attacks leave them out; the same command again measures nothing and brings them."
    ]


def _cell(item: Item | None) -> str:
    if item is None:
        return ""
    spread = deviation(item)
    bound = "<= " if item.missing else ""
    return bound + figure_text(item.figure) + (f" sd {percent(spread)}" if spread else "")


def effort(board: Board, row: Row) -> tuple[str, ...]:
    """Images, seeds, draws, network calls of one prediction, forwards and backwards of all."""
    entries = list(row.complete().values())
    if not entries:
        return (str(board.images), "", "", "", "", "")
    return (
        str(board.images),
        range_text(len(entry.seeds) for entry in entries),
        draws_text(*(entry for entry in entries if not aside(entry.threat))),
        f"{max(entry.cost.prediction for entry in entries):.1f}",
        f"{sum(entry.cost.forwards for entry in entries):.0f}",
        f"{sum(entry.cost.backwards for entry in entries):.0f}",
    )


def _corruption(board: Board, rows: list[Row]) -> Iterator[Table]:
    body: dict[str, dict[str, str]] = {}
    for row in rows:
        for entry in row.complete(CORRUPTION).values():
            groups = {name: figure_text(f) for name, f in extra(entry).groups.items()}
            body.setdefault(_label(row), {}).update(groups)
    names = sorted({name for cells in body.values() for name in cells if "/" not in name})
    severities = [name for name in names if name.startswith("severity ")]
    columns = [*severities, *(name for name in names if name not in severities)]
    if severities:
        cells = ((row, *(found.get(c, "") for c in columns)) for row, found in body.items())
        note = "Means over kinds at one severity, then over severities of one kind."
        yield Table("Common corruptions", ("defense", *columns), tuple(cells), (note,))


def _certified(board: Board, rows: list[Row]) -> Iterator[Table]:
    proofs = [(row, *item) for row in rows for item in row.complete(CERTIFIED).items()]
    if not proofs:
        return
    within = [extra(entry).within for *_, entry in proofs]
    radii = max(within, key=len)
    body = tuple(
        (
            _label(row),
            name,
            figure_text(entry.figure),
            *(figure_text(own[radius]) if radius in own else "0.0" for radius in radii),
        )
        for (row, name, entry), own in zip(proofs, within, strict=True)
    )
    yield Table(
        "Certified accuracy",
        ("defense", "by", "at 0", *(f"{radius:g}" for radius in radii)),
        body,
        (
            "The share of images whose class is right and proven not to change within that l2 "
            "radius; at 0, those that are right without abstaining. A lower bound for the vote of "
            "noisy copies, against any attack: it is no part of the worst case.",
        ),
    )


def _differences(analysis: Analysis, rows: list[Row]) -> Iterator[Table]:
    shown = [row for row in rows if any(key[0] == row.label for key in analysis.against)]
    if not shown:
        return
    body = []
    for (column, classifier), control in analysis.best.items():
        found = {row: analysis.against.get((row.label, column)) for row in shown}
        own = {row: test for row, test in found.items() if row.classifier == classifier}
        if any(own.values()):
            tests = (own.get(row) for row in shown)
            cells = (
                f"{figure_text(test[0].difference, sign=True)}, p {p_text(test[1])}" if test else ""
                for test in tests
            )
            body.append((column, control, *cells))
    yield Table(
        "Difference to the best control",
        ("attack", "best control there", *(row.label for row in shown)),
        tuple(body),
        (
            "Points above the control with the highest figure in that column, on the same "
            "classifier and images, with the paired 95 % interval. Choosing it on these images "
            "favours the control. "
            "p: exact McNemar at one draw of independent images, else a permutation of signs by "
            "image or block; Holm over this table.",
        ),
    )


def _random(analysis: Analysis, rows: list[Row]) -> Iterator[Table]:
    """Mean, vote and worst of K under the row's strongest attack, each beside clean."""
    body = []
    for row in rows:
        attacks = row.complete(analysis.board.threat).values()
        if not attacks:
            continue
        strongest = min(attacks, key=lambda entry: float(entry.values.mean()))
        for entry in (*row.complete(CLEAN).values(), strongest):
            more = extra(entry)
            if more.vote and more.worst_of:
                figures = map(figure_text, (entry.figure, more.vote, more.worst_of))
                body.append((_label(row), entry.attack, *figures, str(more.k)))
    if body:
        yield Table(
            "Several draws of one image: mean, vote, worst of K",
            ("defense", "attack", "mean", "vote", "worst of K", "K"),
            tuple(body),
            ("Clean, and the attack with the lowest mean. Vote: more than half of the draws.",),
        )


def _settings(board: Board) -> tuple[tuple[str, ...], ...]:
    """A line per column and resolved setting, with the rows that it holds for."""
    lines = []
    for column in board.columns:
        users: dict[str, list[str]] = {}
        for row in board.rows:
            if column in row.entries:
                users.setdefault(resolved(row.entries[column]), []).append(row.label)
        for settings, rows in users.items():
            lines.append((column, settings, "all" if len(users) == 1 else ", ".join(rows)))
    return tuple(lines)


def resolved(entry: Entry) -> str:
    """The settings of a column, and through what it went where the records say so."""
    through = sorted({record.gradient for record in entry.records if record.gradient})
    return f"{entry.settings}; gradient {', '.join(through)}" if through else entry.settings


def _made_with(board: Board) -> Iterator[Listing]:
    records = [record for row in board.rows for record in row.records]
    if records:
        yield Listing("Software", tuple(sorted({software(record) for record in records})))
        weights = {(n, sha[:12]) for record in records for n, sha in record.weights.items()}
        yield Listing("Weights (sha256)", tuple(f"{n} {sha}" for n, sha in sorted(weights)))
    conditions = {
        f"{record.asked['defense']}: {record.timing[key]}"
        for record in records
        for key in CONDITIONS
        if key in record.timing
    }
    assumed = {
        f"{record.asked['defense']}: {record.timing[ASSUMED]}"
        for record in records
        if ASSUMED in record.timing
    }
    if assumed:
        yield Listing("Assumed of files that do not say it", tuple(sorted(assumed)))
    if conditions:
        yield Listing("Precision and memory", tuple(sorted(conditions)))


def software(record: Record) -> str:
    """The versions that a record was made with."""
    return ", ".join(f"{name} {version}" for name, version in sorted(record.software.items()))


def _label(row: Row) -> str:
    return f"{row.label} (control)" if row.control else row.label
