"""A board as neutral tables of text: what every renderer lays out, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.analysis import (
    ON,
    WITHIN,
    WORST,
    Analysis,
    BoardSpec,
    analyse,
    draws_text,
    extra_metrics,
    how_to_run,
    p_text,
    percent,
)
from bench.archive import CONDITIONS
from bench.boards import (
    CERTIFIED,
    CLEAN,
    CORRUPTION,
    Board,
    Entry,
    Row,
    Worst,
    aside,
    deviation,
    figure,
)
from bench.flags import Flag, flags
from bench.metrics import cost
from bench.ranking import ranked
from bench.results import Record
from bench.spec import NO_ATTACK
from bench.stats import Comparison, Figure

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
        lines = tuple(_flag_text(flag) for flag in found if flag.kind == kind)
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
    yield Table("Settings of every row", ("defense", "resolved"), _row_settings(rows))
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
    heading = (
        f"{board.dataset}, subset {board.subset}, {board.threat}, {board.budget}, "
        f"{board.images} images"
    )
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


def _cell(item: Entry | Worst | None) -> str:
    if item is None:
        return ""
    spread = deviation(item)
    bound = "<= " if isinstance(item, Worst) and item.missing else ""
    return bound + figure_text(figure(item)) + (f" sd {percent(spread)}" if spread else "")


def effort(board: Board, row: Row) -> tuple[str, ...]:
    """Images, seeds, draws, network calls of one prediction, forwards and backwards of all."""
    entries = list(row.complete().values())
    if not entries:
        return (str(board.images), "", "", "", "", "")
    costs = [cost(list(entry.seeds.values())) for entry in entries]
    seeds = {len(entry.seeds) for entry in entries}
    return (
        str(board.images),
        str(min(seeds)) if len(seeds) == 1 else f"{min(seeds)}-{max(seeds)}",
        draws_text(*(entry for entry in entries if not aside(entry.threat))),
        f"{max(spent.prediction for spent in costs):.1f}",
        f"{sum(spent.forwards for spent in costs):.0f}",
        f"{sum(spent.backwards for spent in costs):.0f}",
    )


def _corruption(board: Board, rows: list[Row]) -> Iterator[Table]:
    body: dict[str, dict[str, str]] = {}
    for row in rows:
        for entry in row.complete().values():
            if entry.threat == CORRUPTION:
                found = dict(extra_metrics(entry))
                groups = {
                    name.removeprefix(ON): figure_text(value)
                    for name, value in found.items()
                    if name.startswith(ON) and "/" not in name
                }
                body.setdefault(_label(row), {}).update(groups)
    names = sorted({name for cells in body.values() for name in cells})
    severities = [name for name in names if name.startswith("severity ")]
    kinds = [name for name in names if name not in severities]
    if severities:
        columns = [*severities, *kinds]
        cells = ((row, *(found.get(c, "") for c in columns)) for row, found in body.items())
        note = "Means over kinds at one severity, then over severities of one kind."
        yield Table("Common corruptions", ("defense", *columns), tuple(cells), (note,))


def _certified(board: Board, rows: list[Row]) -> Iterator[Table]:
    body: list[tuple[str, str, str, dict[str, str]]] = []
    for row in rows:
        for name, entry in row.complete().items():
            if entry.threat == CERTIFIED:
                found = {k: figure_text(v) for k, v in extra_metrics(entry) if k.startswith(WITHIN)}
                body.append((_label(row), name, figure_text(figure(entry)), found))
    if not body:
        return
    columns = max((found for *_, found in body), key=len)
    cells = ((*head, *(found.get(c, "0.0") for c in columns)) for *head, found in body)
    yield Table(
        "Certified accuracy",
        ("defense", "by", "at 0", *(name.removeprefix(WITHIN) for name in columns)),
        tuple(cells),
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
        found = [
            analysis.against.get((row.label, column)) if row.classifier == classifier else None
            for row in shown
        ]
        if any(found):
            cells = (_difference(*pair) if pair else "" for pair in found)
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


def _difference(comparison: Comparison, p: float) -> str:
    return f"{figure_text(comparison.difference, sign=True)}, p {p_text(p)}"


def _random(analysis: Analysis, rows: list[Row]) -> Iterator[Table]:
    """Mean, vote and worst of K under the row's strongest attack, each beside clean."""
    body = []
    for row in rows:
        entries = row.complete()
        attacks = [e for e in entries.values() if e.threat == analysis.board.threat]
        if not attacks:
            continue
        clean = [e for e in entries.values() if e.threat == CLEAN]
        for entry in (*clean, min(attacks, key=lambda e: float(e.values.mean()))):
            found = dict(extra_metrics(entry))
            extra = [figure_text(v) for k, v in found.items() if k.startswith(("vote", "worst of"))]
            if extra:
                k = next(name for name in found if name.startswith("worst of"))
                mean = figure_text(figure(entry))
                body.append((_label(row), entry.attack, mean, extra[0], extra[1], k[9:]))
    if body:
        yield Table(
            "Several draws of one image: mean, vote, worst of K",
            ("defense", "attack", "mean", "vote", "worst of K", "K"),
            tuple(body),
            ("Clean, and the attack with the lowest mean. Vote: more than half of the draws.",),
        )


def _row_settings(rows: list[Row]) -> tuple[tuple[str, ...], ...]:
    return tuple((_label(row), row.settings) for row in rows)


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
    records = (record for found in entry.seeds.values() for record in found.records)
    through = sorted({record.gradient for record in records if record.gradient})
    return f"{entry.settings}; gradient {', '.join(through)}" if through else entry.settings


def _made_with(board: Board) -> Iterator[Listing]:
    records = [
        record
        for row in board.rows
        for entry in row.complete().values()
        for measured in entry.seeds.values()
        for record in measured.records
    ]
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
    if conditions:
        yield Listing("Precision and memory", tuple(sorted(conditions)))


def software(record: Record) -> str:
    """The versions that a record was made with."""
    return ", ".join(f"{name} {version}" for name, version in sorted(record.software.items()))


def _label(row: Row) -> str:
    return f"{row.label} (control)" if row.control else row.label


def _flag_text(flag: Flag) -> str:
    under = f" under {flag.attack}" if flag.attack else ""
    return f"{flag.defense}{under}: {flag.text}."
