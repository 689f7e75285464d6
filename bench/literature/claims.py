"""What was published of a defense under an attack: by its paper, by later ones, by others.

`literature` joins printed and external figures to the experiment that they are of, in the words of
a run; `beside` finds what others measured of the defense of a printed number. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from bench.literature.sheets import (
    FULL,
    PRINTED,
    STAR,
    TITLES,
    External,
    PrintedCell,
    Sheet,
    externals,
    images,
    no_ball,
    sheets,
)
from bench.spec import parse_defense, parse_part
from bench.threat import Threat

Key = tuple[str, str, str]
"""Defense, attack and threat as a board writes them: `Row.asked`, its column, `Entry.threat`."""
ACCURACY, PROTOCOL, CORRUPTED = "accuracy", "protocol", "mean-over-corruptions"
DECIDED = (ACCURACY, PROTOCOL)
"""Metrics of a whole attack, which an external figure may stand beside."""


@dataclass(frozen=True)
class Claim:
    """One published figure, percent: printed in a paper's `table`, or without one by others.

    value, std: as printed, the value perhaps a range; std empty where there is none. metric: as in
    `Target`. by: whose it is; paper: of the printed table, or whose defense it is. base, under: an
    external one's classifier and attack in the words of the source. n: images, 0 where it is not
    known. borrowed: the paper took it from another one.
    """

    value: str
    std: str
    metric: str
    by: str
    paper: str
    n: int
    subset: str
    preset: str
    table: str = ""
    base: str = ""
    under: str = ""
    borrowed: bool = False

    @property
    def text(self) -> str:
        """`90.59±0.08`, `70.01*`, `43.5–43.6`."""
        spread = f"±{self.std}" if self.std else ""
        return f"{self.value}{spread}{STAR if self.borrowed else ''}"

    @property
    def conditions(self) -> str:
        """Of an external figure: whose it is, under what, on which classifier and images.

        As far as that is known.
        """
        base = f"on {self.base}" if self.base else ""
        many = f"{self.n:,} images" if self.n else ""
        return ", ".join(filter(None, (self.by, self.under, base, many)))

    @property
    def low(self) -> float:
        """The value, the lower end of a range."""
        match = PRINTED.match(self.value)
        return float(match["value"].replace(",", "")) if match else float("inf")


def key(defense: str, attack: str, threat: str) -> Key:
    """An experiment however it is spelled: `l2:3` is `l2:765/255`, clean images have no ball."""
    part = parse_part(attack)
    return str(parse_defense(defense)), str(part), no_ball().get(part.name) or spelled(threat)


def spelled(threat: str) -> str:
    """A threat in the one spelling of the boards."""
    return str(Threat.parse(threat))


@dataclass(frozen=True)
class PublishedFigures:
    """What was published of one experiment and metric.

    claims: the printed values, a paper's own before borrowed ones. external: exactly of it, else
    the lowest that stands beside it.
    """

    claims: tuple[Claim, ...] = ()
    external: Claim | None = None

    @property
    def reported(self) -> Claim | None:
        """The printed value that a measurement is held against."""
        return next(iter(self.claims), None)

    @property
    def note(self) -> str:
        """`reported in ADP Table 2; also 83.93 in ADP Table 7; external: Croce et al. ...`."""
        found = by_value(self.claims)
        words = ["reported", *(f"also {value}" for value in list(found)[1:])]
        notes = [f"{w} in {places(there)}" for w, there in zip(words, found.values(), strict=False)]
        if self.external:
            notes.append(f"external: {self.external.conditions}")
        return "; ".join(notes)


@dataclass(frozen=True)
class Literature:
    """What was published on one data set.

    claims: experiment -> figures of exactly that. others: (defense, threat) -> figures of others
    that stand beside it, lowest first.
    """

    claims: Mapping[Key, tuple[Claim, ...]] = field(default_factory=dict)
    others: Mapping[tuple[str, str], tuple[Claim, ...]] = field(default_factory=dict)

    def of(self, where: Key, metric: str = ACCURACY) -> PublishedFigures:
        """What stands beside one figure of a board; metrics in the words of its CSV file."""
        there = [c for c in self.claims.get(where, ()) if headline(c.metric) == metric]
        printed = sorted((c for c in there if c.table), key=lambda claim: claim.borrowed)
        exact = sorted((c for c in there if not c.table), key=lambda claim: claim.low)
        others = self.others.get((where[0], where[2]), ()) if metric in DECIDED else ()
        return PublishedFigures(tuple(printed), next(iter((*exact, *others)), None))


@cache
def literature(dataset: str) -> Literature:
    """Every published figure of a data set that a run here would measure, by its experiment.

    Where papers print several values for one experiment, each is a claim, in the papers' order.
    """
    found: dict[Key, list[Claim]] = {}
    others: dict[tuple[str, str], list[Claim]] = {}
    for sheet in sheets():
        for cell in sheet.numbers():
            target = cell.target
            if target.dataset == dataset and target.runs == (target,):
                where = key(target.defense, target.attack, target.threat)
                found.setdefault(where, []).append(reported(sheet, cell))
    for figure in externals():
        if figure.dataset == dataset and figure.attack:
            where = key(figure.defense, figure.attack, figure.threat)
            found.setdefault(where, []).append(external(figure))
        if figure.dataset == dataset and figure.beside:
            stands = (str(parse_defense(figure.beside)), spelled(figure.threat))
            others.setdefault(stands, []).append(external(figure))
    return Literature(
        {where: tuple(there) for where, there in found.items()},
        {at: tuple(sorted(there, key=lambda claim: claim.low)) for at, there in others.items()},
    )


def datasets() -> set[str]:
    """The data sets on which something was published that a run here would measure."""
    cells = (cell.target for sheet in sheets() for cell in sheet.numbers())
    return {target.dataset for target in cells if target.runs == (target,)}


def beside(dataset: str, defense: str, threat: str) -> tuple[Claim, ...]:
    """What others measured of a defense within a threat (`none`: on clean images), lowest first.

    Defense and threat as in a Key. Others name their own attacks: the lowest of them bounds what is
    right within that threat, whatever the attack that a printed number is of.
    """
    return literature(dataset).others.get((defense, threat), ())


def headline(metric: str) -> str:
    """A printed metric as the CSV file of a board calls it."""
    return ACCURACY if metric == CORRUPTED else metric


def by_value(found: Iterable[Claim]) -> dict[str, list[Claim]]:
    """Claims of one number together (63.1 and 63.10 are one), under its first text, no star."""
    texts: dict[tuple[float, str], str] = {}
    together: dict[str, list[Claim]] = {}
    for claim in found:
        text = texts.setdefault((claim.low, claim.std), claim.text.rstrip(STAR))
        together.setdefault(text, []).append(claim)
    return together


def places(found: Iterable[Claim]) -> str:
    """`ADP Tables 2, 3 and ScoreOpt Table 1*`: each place once, borrowed numbers starred."""
    tables: dict[str, dict[str, None]] = {}
    for claim in found:
        mark = STAR if claim.borrowed else ""
        tables.setdefault(TITLES[claim.paper], {})[f"{claim.table}{mark}"] = None
    return " and ".join(
        f"{title} Table{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for title, numbers in tables.items()
    )


def differences(claim: Claim, subset: str, preset: str) -> list[str]:
    """What is not as it was for a claim, where a board of `subset` and `preset` measured it."""
    found = [f"subset {subset}"] if claim.subset and subset != claim.subset else []
    return found + ([f"budget {preset}"] if preset != claim.preset else [])


def fewer(n: int, claim: Claim) -> str:
    """`512 images where the paper has 10,000`, where that is so."""
    return f"{n:,} images where the paper has {claim.n:,}" if n < claim.n else ""


def reported(sheet: Sheet, cell: PrintedCell) -> Claim:
    """A printed number as a claim of its paper."""
    target = cell.target
    value, _, std = cell.printed.partition("±")
    return Claim(
        value=value.rstrip(STAR),
        std="" if cell.std is None else std.rstrip(STAR),
        metric=target.metric,
        by=sheet.source.partition(",")[0],
        paper=sheet.paper,
        table=sheet.table,
        n=images(target.dataset, target.subset),
        subset=target.subset,
        preset=target.preset or FULL,
        borrowed=cell.borrowed,
    )


def remarks(sheet: Sheet, cell: PrintedCell) -> list[str]:
    """Footnotes of ours to one cell."""
    own = [note.text for note in sheet.notes if (note.row, note.column) == (cell.row, cell.column)]
    return [text for text in (cell.note, *own) if text]


def external(figure: External) -> Claim:
    """Somebody else's figure as a claim."""
    value, _, std = figure.value.partition("±")
    same = ("metric", "by", "paper", "n", "subset", "preset", "base", "under")
    return Claim(value, std, **{name: getattr(figure, name) for name in same})
