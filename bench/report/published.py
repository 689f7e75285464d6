"""A data set's boards, then what was published on it: printed, external and measured side by side.

One table for clean images, for each ball and for corruptions, in the order of the papers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.boards.board import CLEAN, CORRUPTION, Board
from bench.boards.reproduced import figure_of, find
from bench.boards.spec import BoardSpec
from bench.boards.tidy import held_against
from bench.literature.claims import (
    DECIDED,
    PROTOCOL,
    Key,
    Literature,
    PublishedFigures,
    by_value,
    fewer,
    headline,
    places,
)
from bench.literature.sheets import External, externals, sheets
from bench.report import boards as ours
from bench.report.tables import Document, Table, figure_text
from bench.spec import parse_defense
from bench.threat import Threat

LEGEND = (
    "reported: as printed, in percent, with the table of the paper that prints it (leaderboards/"
    "papers/ has their own layout). *: that paper took the number from another one. images: how "
    "many the printed number is of.",
    "external: what others measured of that defense within that threat, the lowest, by attacks of "
    "their own, which may know more; [n] says whose. measured: ours, with its 95 % interval; blank "
    "where nothing was measured.",
)
HEAD = {CLEAN: "clean images", CORRUPTION: "common corruptions, mean over kinds and severities"}


def document(boards: Sequence[Board], spec: BoardSpec, dataset: str) -> Document:
    """The boards, and what was published where anything was."""
    plain = ours.document(list(boards), spec, dataset)
    if not spec.published.claims:
        return plain
    blocks = [b for b in plain.blocks if not isinstance(b, Table) or b.rows]
    more = published(boards, spec, dataset)
    return replace(plain, prose=(*plain.prose, *LEGEND), blocks=(*blocks, *more))


def published(boards: Sequence[Board], spec: BoardSpec, dataset: str) -> tuple[Table, ...]:
    """The tables of what was published on a data set; none where nothing was."""
    if not spec.published.claims:
        return ()
    found = [figure for figure in externals() if figure.dataset == dataset]
    return (*_sections(boards, spec.published, dataset), *others(found))


def others(found: Sequence[External]) -> Iterator[Table]:
    """Figures that others measured, as they report them, and what here comes nearest."""
    if found:
        header = ("defense", "base", "data", "threat", "attack", "%", "n", "source", "nearest here")
        yield Table("Measured by others", header, tuple(map(_other, found)), major=True)


def _other(figure: External) -> tuple[str, ...]:
    return (
        figure.method,
        figure.base,
        figure.dataset,
        figure.threat,
        figure.under,
        figure.value,
        str(figure.n or ""),
        figure.source,
        f"{figure.defense} under {figure.attack}" if figure.attack else "",
    )


def _sections(boards: Sequence[Board], published: Literature, dataset: str) -> Iterator[Table]:
    found = _experiments(published)
    threats = dict.fromkeys(where[2] for where, _ in found)
    order = (CLEAN, *(t for t in threats if t not in HEAD), CORRUPTION)
    for threat in (t for t in order if t in threats):
        lines = [(where, metric) for where, metric in found if where[2] == threat]
        yield _section(boards, published, threat, lines)
    shown = sum(len(published.of(*line).claims) for line in found)
    left = sum(c.target.dataset == dataset for s in sheets() for c in s.numbers()) - shown
    yield Table(
        "Printed numbers that are not above",
        ("", "numbers"),
        (("single corruptions, means, competitors and classifiers that are not here", str(left)),),
        ("Each stands in its paper's table, with the reason where nothing here would measure it.",),
    )


def _experiments(published: Literature) -> list[tuple[Key, str]]:
    """Experiments and metrics that decide an attack, those of one method together."""
    first: dict[str, int] = {}
    for where in published.claims:
        first.setdefault(_method(where[0]), len(first))
        first.setdefault(where[0], len(first))
    found = dict.fromkeys(
        (where, headline(claim.metric))
        for where, claims in published.claims.items()
        for claim in claims
        if headline(claim.metric) in DECIDED
    )
    return sorted(found, key=lambda line: (first[_method(line[0][0])], first[line[0][0]]))


def _method(defense: str) -> str:
    """The purifiers of a defense without their settings: what stands together."""
    return "+".join(part.name for part in parse_defense(defense).parts)


def _section(
    boards: Sequence[Board], published: Literature, threat: str, lines: Sequence[tuple[Key, str]]
) -> Table:
    attacked = threat not in HEAD  # else the heading says it
    sources: dict[str, int] = {}
    body = []
    for where, metric in lines:
        there = published.of(where, metric)
        own = " (its own verdict)" if metric == PROTOCOL else ""
        head = (where[0], where[1] + own) if attacked else (where[0],)
        outside = there.external
        mark = sources.setdefault(outside.conditions, len(sources) + 1) if outside else 0
        external = f"{outside.text} [{mark}]" if outside else ""
        body.append((*head, *_printed(there), external, *_measured(boards, where, metric, there)))
    header = ("defense", *(["attack"] if attacked else []), "reported", "images", "external")
    heading = f"Published: {HEAD.get(threat) or _within(threat)}"
    notes = tuple(f"[{mark}] {text}" for text, mark in sources.items())
    return Table(heading, (*header, "measured", "verdict"), tuple(body), notes, major=True)


def _within(threat: str) -> str:
    """`within linf:8/255`, `within l2:3`: only linf is counted in grey levels."""
    found = Threat.parse(threat)
    return f"within l2:{found.eps:g}" if found.norm == "l2" else f"within {threat}"


def _printed(there: PublishedFigures) -> tuple[str, str]:
    """`86.14 (ADP Tables 2, 3); 85.66 (ScoreOpt Table 3a)`, and of how many images."""
    values = by_value(there.claims)
    text = "; ".join(f"{value} ({places(same)})" for value, same in values.items())
    sizes = dict.fromkeys(f"{claim.n:,}" for claim in there.claims if claim.n)
    return text, "; ".join(sizes)


def _measured(
    boards: Sequence[Board], where: Key, metric: str, there: PublishedFigures
) -> tuple[str, str]:
    """The measurement of an experiment, and what it says of each printed value."""
    found = find(boards, where)
    figure = figure_of(found[1], metric) if found else None
    if found is None or figure is None:
        return "", ""
    said = {
        value: held_against(same[0], figure, found[0])
        for value, same in by_value(there.claims).items()
    }
    one = len(set(said.values())) == 1
    lines = list(said.values())[:1] if one else [f"{value}: {t}" for value, t in said.items()]
    verdict = "; ".join(lines)
    note = fewer(found[0].images, there.reported) if there.reported else ""
    return figure_text(figure), f"{verdict} ({note})" if note else verdict
