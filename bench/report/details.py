"""What stands behind a board's answer: every attack, settings, how to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.boards.analysis import WORST, Analysis, draws_text, extra, p_text, range_text
from bench.boards.board import CLEAN, CORRUPTION, Board, Entry, Row, aside
from bench.boards.flags import Flag
from bench.boards.ranking import ranked
from bench.boards.words import method
from bench.report.tables import Block, Listing, Table, cell_text, figure_text, label
from bench.results.archive import ASSUMED, CONDITIONS
from bench.results.store import Record
from bench.threat import CERTIFIED

EVERY = "Every attack"
"""Heading of the table with a column for each attack."""
PRESET_NOTES = {
    "quick": "quick: few steps, draws of noise and queries. It shows that everything works; "
    "the standard preset is what may be quoted.",
    "standard": "standard: the papers' steps and draws for gradient attacks; spsa, square and "
    "autoattack have the smaller budgets printed below. Where they say runs=1, a query asks one "
    "purification, a cheaper proxy of the deployed prediction.",
}


def details(analysis: Analysis, notes: Sequence[Flag]) -> Iterator[Block]:
    """All else of a board, with what its flags note."""
    board = analysis.board
    rows = ranked(board, analysis.worst)
    yield _main(analysis, rows)
    yield from _corruption(board, rows)
    yield from _certified(board, rows)
    yield from _resubmitted(rows)
    yield from _differences(analysis, rows)
    yield from _random(analysis, rows)
    if lines := tuple(f"{flag}." for flag in notes):
        yield Listing("Notes", lines)
    if blank := tuple(_blanks(analysis, rows)):
        yield Listing("Blank cells", blank)
    yield Listing("Settings of every row", tuple(f"{label(row)}: {row.settings}" for row in rows))
    yield Table("Settings of every column", ("attack", "resolved", "for"), _settings(board))
    commands = (*board.commands, f"bench table --dataset {board.dataset}")
    yield Listing("How to reproduce", commands, commands=True)
    yield from _made_with(board)


def _main(analysis: Analysis, rows: list[Row]) -> Table:
    board = analysis.board
    body = []
    for row in rows:
        figures = [analysis.item(row, column) for column in (*board.columns, WORST)]
        n, seeds, draws, _, forwards, backwards = effort(board, row)
        cells = (*(cell_text(item) for item in figures), n, seeds, draws, forwards, backwards)
        body.append((label(row), *cells))
    header = ("defense", *board.columns, WORST, "n", "seeds", "draws", "forwards", "backwards")
    return Table(EVERY, header, tuple(body), reading(analysis))


def reading(analysis: Analysis) -> tuple[str, ...]:
    """What the numbers of a board mean, a sentence or two for each kind that it has."""
    board = analysis.board
    notes = [
        "Accuracy in percent with its 95 % interval. Worst case: per image over clean and every "
        f"attack within {board.threat}; rows stand in its order.",
        "Rank: from 1 + the rows whose worst case is significantly better to n - those whose is "
        "worse, of n ranked rows (paired test at 5 %, Holm over all pairs).",
        "Network calls per image: calls are those of one prediction of the defense, forwards and "
        "backwards those of all columns together, attack and judge.",
    ]
    if board.preset in PRESET_NOTES:
        notes.append(PRESET_NOTES[board.preset])
    notes += _aside(board) + _untold(board) + _unlike(board)
    if any(found.missing for found in analysis.worst.values()):
        notes.append(
            "<=: an attack is incomplete or was not asked of this row, or none that knows the "
            "defense can be made against it, so the worst case is an upper bound; it is compared "
            "with nothing."
        )
    return tuple(notes)


def _aside(board: Board) -> list[str]:
    """What columns of other threats are, where the board has them; corruptions have a table."""
    notes: dict[str, None] = {}
    for entry in (entry for row in board.rows for entry in row.entries.values()):
        if aside(entry.threat) and entry.threat != CORRUPTION:
            what = entry.facts.aside if entry.facts else ""
            what = what or f"within {entry.threat}, a threat of its own"
            name = method(entry.attack) or entry.attack
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


def _unlike(board: Board) -> list[str]:
    """Which columns hold attacks of other settings, as after a release that changed a default."""
    entries = (entry for row in board.rows for entry in row.numbers.values())
    settings: dict[str, set[str]] = {}
    for entry in entries:
        if entry.threat == board.threat:
            settings.setdefault(entry.attack, set()).add(entry.settings)
    names = [name for name, found in settings.items() if len(found) > 1]
    if not names:
        return []
    return [
        f"Not the same settings for every row: {', '.join(names)} (below, Settings of every "
        "column). Rows that were attacked otherwise are not compared, and leave each other's rank "
        "open."
    ]


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
            body.setdefault(label(row), {}).update(groups)
    names = {name for cells in body.values() for name in cells}
    severities = sorted(name for name in names if name.startswith("severity "))
    if severities:
        cells = ((row, *(found.get(c, "") for c in severities)) for row, found in body.items())
        note = "Means over all kinds; each kind is in the CSV and on the page."
        yield Table("Common corruptions", ("defense", *severities), tuple(cells), (note,))


def _certified(board: Board, rows: list[Row]) -> Iterator[Table]:
    proofs = [(row, *item) for row in rows for item in row.complete(CERTIFIED).items()]
    if not proofs:
        return
    within = [extra(entry).within for *_, entry in proofs]
    radii = max(within, key=len)
    body = tuple(
        (
            label(row),
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


def _resubmitted(rows: list[Row]) -> Iterator[Table]:
    """Of attacks whose candidates were tried again: robust, clean at as many tries, difference."""
    body = []
    for row in rows:
        for name, entry in row.numbers.items():
            if found := extra(entry).resubmit:
                *shares, gap = found.values()
                again = next(iter(entry.records)).resubmit
                numbers = (str(again[key][0]) for key in ("steps", "tries"))
                figures = (figure_text(gap, sign=True), *map(figure_text, shares))
                body.append((label(row), name, *figures, *numbers))
    if body:
        yield Table(
            "Resubmission",
            (
                *("defense", "attack", "difference"),
                *("robust-resubmit@N", "clean-resubmit@N", "steps", "N"),
            ),
            tuple(body),
            (
                "At every step the candidate is tried by N fresh predictions; an image is broken "
                "if any of them, at any step, is wrong. Clean: the image itself at as many tries. "
                "The difference is what the attack does beyond luck, with its paired interval.",
            ),
        )


def _blanks(analysis: Analysis, rows: Sequence[Row]) -> Iterator[str]:
    """Why cells are blank: a line for each reason and the columns in which it holds for a row."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row in rows:
        blank: dict[str, list[str]] = {}
        for column in (*analysis.board.columns, WORST):
            if reason := analysis.why_blank(row, column):
                blank.setdefault(reason, []).append(column)
        for reason, columns in blank.items():
            found.setdefault((reason, tuple(columns)), []).append(row.label)
    for (reason, under), names in found.items():
        yield f"{', '.join(names)} under {', '.join(under)}: {reason}"


def _differences(analysis: Analysis, rows: list[Row]) -> Iterator[Table]:
    """Of the worst cases; those under each attack are in the CSV and on the page."""
    body = []
    for row in rows:
        if (row.label, WORST) in analysis.against:
            test, p = analysis.against[row.label, WORST]
            control = analysis.best[WORST, row.classifier]
            gap = figure_text(test.difference, sign=True)
            body.append((row.label, control, gap, p_text(p)))
    if body:
        yield Table(
            "Difference to the best control",
            ("defense", "best control", f"difference in the {WORST}", "p"),
            tuple(body),
            (
                "Points above the control of the highest worst case on the same classifier and "
                "images, with the paired 95 % interval. Choosing it on these images favours the "
                "control. p: exact McNemar at one draw of independent images, else a permutation "
                "of signs by image or block; Holm over these and the differences under each "
                "attack, which are in the CSV and on the page.",
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
                body.append((label(row), entry.attack, *figures, str(more.k)))
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
