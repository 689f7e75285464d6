"""What was published of a defense under an attack: by its paper, by later ones, by others.

`claims` joins printed and external figures to the experiment that they are of, in the words of a
run; `beside` finds what others measured of the defense of a printed number. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bench.papers import (
    FULL,
    PRINTED,
    STAR,
    TITLES,
    Cell,
    External,
    Sheet,
    externals,
    images,
    sheets,
)
from bench.spec import ball, number, parse_defense, parse_part

Key = tuple[str, str, str]
"""Defense, attack and threat as a board writes them: `Row.asked`, its column, `Entry.threat`."""
REPORTED, EXTERNAL = "reported", "external"
NO_BALL = {"clean": "none", "corruption": "corruption"}
"""Attacks whose threat is none of a board's balls."""


@dataclass(frozen=True)
class Claim:
    """One published figure, percent, and where it stands.

    kind: `reported` (a paper's table) or `external` (somebody else's evaluation). value, std: as
    printed, the value perhaps a range; std empty where there is none. metric: as in `Target`.
    paper, table: of the printed table, the latter empty for an external one. method, base, under:
    defense, classifier and attack in the words of the source. n: images, 0 where it is not known.
    borrowed: the paper took it from another one.
    """

    kind: str
    value: str
    std: str
    metric: str
    by: str
    source: str
    paper: str
    table: str
    method: str
    base: str
    under: str
    n: int
    subset: str
    preset: str
    borrowed: bool = False
    note: str = ""

    @property
    def text(self) -> str:
        """`90.59±0.08`, `70.01*`, `43.5–43.6`."""
        spread = f"±{self.std}" if self.std else ""
        return f"{self.value}{spread}{STAR if self.borrowed else ''}"

    @property
    def low(self) -> float:
        """The value, the lower end of a range."""
        match = PRINTED.match(self.value)
        return float(match["value"].replace(",", "")) if match else float("inf")


def key(defense: str, attack: str, threat: str) -> Key:
    """An experiment however it is spelled: `l2:3` is `l2:765/255`, clean images have no ball."""
    part = parse_part(attack)
    return str(parse_defense(defense)), str(part), NO_BALL.get(part.name) or spelled(threat)


def spelled(threat: str) -> str:
    """A threat in the one spelling of the boards."""
    norm, _, eps = threat.partition(":")
    return ball(norm, number(eps)) if eps and norm in ("linf", "l2") else threat


@cache
def claims(dataset: str) -> Mapping[Key, tuple[Claim, ...]]:
    """Every published figure of a data set that a run here would measure, by its experiment.

    Where papers print several values for one experiment, each is a claim, in the papers' order.

    Raises:
        BenchError: a damaged file of tables.
    """
    found: dict[Key, list[Claim]] = {}
    for sheet in sheets():
        for cell in sheet.numbers():
            target = cell.target
            if target.dataset == dataset and target.measurable and not target.over:
                where = key(target.defense, target.attack, target.threat)
                found.setdefault(where, []).append(reported(sheet, cell))
    for figure in externals():
        if figure.dataset == dataset and figure.attack:
            where = key(figure.defense, figure.attack, figure.threat)
            found.setdefault(where, []).append(external(figure))
    return {where: tuple(given) for where, given in found.items()}


def beside(dataset: str, defense: str, threat: str) -> tuple[Claim, ...]:
    """What others measured of a defense within a threat (`none`: on clean images), lowest first.

    They name their own attacks: what is right under any of them bounds what can be right.
    """
    asked, within = str(parse_defense(defense)), spelled(threat)
    there = [
        external(figure)
        for figure in externals()
        if figure.dataset == dataset
        and figure.beside
        and str(parse_defense(figure.beside)) == asked
        and spelled(figure.threat) == within
    ]
    return tuple(sorted(there, key=lambda claim: claim.low))


def reported(sheet: Sheet, cell: Cell) -> Claim:
    """A printed number as a claim of its paper."""
    target = cell.target
    head, column = sheet.rows[cell.row - 1], sheet.columns[cell.column - 1]
    own = [note.text for note in sheet.notes if (note.row, note.column) == (cell.row, cell.column)]
    return Claim(
        REPORTED,
        value=cell.printed.partition("±")[0].rstrip(STAR),
        std="" if cell.std is None else cell.printed.partition("±")[2].rstrip(STAR),
        metric=target.metric,
        by=sheet.source.partition(",")[0],
        source=f"{TITLES[sheet.paper]} Table {sheet.table}, row {head}, column {column}",
        paper=sheet.paper,
        table=sheet.table,
        method=str(head),
        base="",
        under=column,
        n=images(target.dataset, target.subset),
        subset=target.subset,
        preset=target.preset or FULL,
        borrowed=cell.borrowed,
        note="; ".join(text for text in (cell.note, *own) if text),
    )


def external(figure: External) -> Claim:
    """Somebody else's figure as a claim."""
    value, _, std = figure.value.partition("±")
    return Claim(
        EXTERNAL,
        value=value,
        std=std,
        metric=figure.metric,
        by=figure.by,
        source=figure.source,
        paper=figure.paper,
        table="",
        method=figure.method,
        base=figure.base,
        under=figure.under,
        n=figure.n,
        subset=figure.subset,
        preset=figure.preset,
    )
