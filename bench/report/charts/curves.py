"""Boards as charts: certified accuracy, corruptions by severity, accuracy against cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bench.boards.analysis import Analysis, analyse, extra, numbers
from bench.boards.board import CLEAN, CORRUPTION, Board, Entry, Row
from bench.boards.metrics import certified
from bench.boards.ranking import ranked
from bench.errors import BenchError, unknown
from bench.report.charts.selection import (
    MOST,
    Choice,
    columns_of,
    place,
    require_columns,
    require_rows,
    rows_of,
)
from bench.report.charts.selection import sections as of_choice
from bench.report.figures.data import Axis, Chart, Panel, Point, Scatter, Series, Spot
from bench.stats import Figure
from bench.threat import CERTIFIED

Calls = Literal["prediction", "all"]
EACH = "each"
"""One panel for every kind of corruption."""
SEVERITY = "severity "
BARS = "Bars: 95\N{NO-BREAK SPACE}% intervals over images."
HOLLOW = " Hollow: an upper bound, attacks are missing."


def certified_curve(boards: Sequence[Board], choice: Choice, dataset: str) -> Chart:
    """Certified accuracy against the l2 radius, of every row with a certificate.

    Markers stand where the board has numbers; the stairs between are the same share at every
    radius.
    """
    series: list[Series] = []
    analysis = _first(boards, choice, CERTIFIED)
    if analysis is None:
        how = _how("none@noisy", "certify", choice, dataset)
        raise BenchError(f"no certificate is stored on {dataset}; run: {how}")
    found = list(_entries(analysis, choice, CERTIFIED))
    names = {column for _, column, _ in found}
    furthest = max(float(_radii(entry)[-1]) for _, _, entry in found)
    for row, column, entry in found:
        label = row.label if len(names) == 1 else f"{row.label}, {column}"
        shares = {0.0: entry.figure} | dict(extra(entry).within)
        points = tuple(Point(radius, share) for radius, share in shares.items())
        series.append(Series(label, points, _stairs(entry, furthest)))
    said = f"{place(analysis.board)}, {', '.join(sorted(names))}. {_left_out(series)}{BARS}"
    said = said.replace(f", {analysis.board.threat}", "")
    axis = Axis("radius, l2 (pixels in [0,1])")
    return Chart((Panel("", tuple(series[:MOST])),), axis, "certified accuracy (%)", said)


def severity_curves(
    boards: Sequence[Board], choice: Choice, dataset: str, kinds: Sequence[str] = ()
) -> Chart:
    """Accuracy against the severity of corruptions: the mean over kinds, or a panel per kind.

    kinds: names, or `each`. Severity 0 is the column `clean`, where the row has it.
    """
    analysis = _first(boards, choice, CORRUPTION)
    if analysis is None:
        how = _how("adp", "clean,corruption", choice, dataset)
        raise BenchError(f"no corruption is stored on {dataset}; run: {how}")
    found = list(_entries(analysis, choice, CORRUPTION))
    known = dict.fromkeys(name.partition("/")[0] for *_, e in found for name in e.any.variants)
    for name in kinds:
        if name != EACH and name not in known:
            raise unknown("kind of corruption", name, [*known, EACH])
    panels: dict[str, list[Series]] = {}
    for row, column, entry in found[:MOST]:
        shares = extra(entry).groups
        start = [Point(0.0, clean.figure) for clean in row.complete(CLEAN).values()][:1]
        for title in (known if EACH in kinds else kinds) or ("",):
            points = start + _by_severity(shares, title)
            label = row.label if column == CORRUPTION else f"{row.label}, {column}"
            panels.setdefault(title.replace("_", " "), []).append(Series(label, tuple(points)))
    of = "each kind of corruption" if kinds else f"mean over {len(known)} kinds of corruption"
    said = f"{place(analysis.board)}: {of}. {_left_out([e for *_, e in found])}{BARS}"
    said = said.replace(f", {analysis.board.threat}", "")
    made = tuple(Panel(title, tuple(series)) for title, series in panels.items())
    ticks = tuple((float(s), f"{s}") for s in _severities(found))
    return Chart(made, Axis("severity (0: clean)", ticks=ticks), "accuracy (%)", said)


def cost_scatter(
    boards: Sequence[Board], choice: Choice, dataset: str, calls: Calls = "prediction"
) -> Scatter:
    """Worst case against network calls per image: of one prediction, or of `all` that was run."""
    found = of_choice(boards, choice)
    require_rows(found, choice.defenses)
    for analysis in (analyse(board, compared=False) for board in found):
        rows = rows_of(ranked(analysis.board, analysis.worst), choice.defenses)
        spots = tuple(_spot(analysis, row, calls) for row in rows if row.label in analysis.worst)
        if spots:
            return _scatter(analysis.board, spots, calls)
    how = _how("adp", "all", choice, dataset)
    raise BenchError(f"no worst case is stored on {dataset}; run: {how}")


def as_data(chart: Chart | Scatter) -> list[dict[str, Any]]:
    """Every number of a chart as a line, shares in percent as on the board."""
    if isinstance(chart, Scatter):
        return [
            {"series": s.label, "x": s.x, "kind": s.kind, **_numbers(s.share, s.bound)}
            for s in chart.spots
        ]
    return [
        {"panel": panel.title, "series": s.label, "x": p.x, **_numbers(p.share, p.bound)}
        for panel in chart.panels
        for s in panel.series
        for p in s.points
    ]


def _numbers(share: Figure, bound: bool) -> dict[str, Any]:
    return {**numbers(share), "upper_bound": bound}


def _first(boards: Sequence[Board], choice: Choice, threat: str) -> Analysis | None:
    """The first board with such a measurement in the rows and columns that were chosen."""
    found = of_choice(boards, choice)
    require_rows(found, choice.defenses)
    require_columns(found, choice.attacks)
    for analysis in (analyse(board, compared=False) for board in found):
        if any(_entries(analysis, choice, threat)):
            return analysis
    return None


def _entries(analysis: Analysis, choice: Choice, threat: str) -> Iterator[tuple[Row, str, Entry]]:
    board = analysis.board
    columns = columns_of(board, choice.attacks, lambda _: True)
    for row in rows_of(ranked(board, analysis.worst), choice.defenses):
        for column, entry in row.complete(threat).items():
            if column in columns and (threat != CERTIFIED or _radii(entry).size):
                yield row, column, entry


def _radii(entry: Entry) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Every radius up to which some image is certified, in order; none without certificates."""
    if not all(record.certificate for record in entry.records):
        return np.array([])
    return np.unique(np.concatenate([record.certificate["radius"] for record in entry.records]))


def _stairs(entry: Entry, furthest: float) -> tuple[tuple[float, float], ...]:
    """(radius, share) at every step: the share holds up to that radius, and is 0 after the last."""
    radii = [float(radius) for radius in _radii(entry)]
    shares = [certified(measured, radii) for measured in entry.seeds.values()]
    steps = [(0.0, entry.figure.value)]
    for radius in radii:
        values = [found[radius].mean() if radius in found else 0.0 for found in shares]
        steps.append((radius, float(np.mean(values))))
    return (*steps, (radii[-1], 0.0), (max(furthest, radii[-1]), 0.0))


def _by_severity(shares: Mapping[str, Figure], kind: str) -> list[Point]:
    """Points of one kind, or of the mean over all of them (no kind)."""
    points = []
    for name, share in shares.items():
        head, _, severity = name.partition("/") if kind else (kind, "", name)
        if kind and head == kind and severity:
            points.append(Point(float(severity), share))
        if not kind and name.startswith(SEVERITY):
            points.append(Point(float(name.removeprefix(SEVERITY)), share))
    return sorted(points, key=lambda point: point.x)


def _severities(found: Sequence[tuple[Row, str, Entry]]) -> list[int]:
    levels = {int(name.partition("/")[2] or 0) for *_, e in found for name in e.any.variants}
    clean = any(row.complete(CLEAN) for row, *_ in found)
    return sorted(levels | ({0} if clean else set()))


def _spot(analysis: Analysis, row: Row, calls: Calls) -> Spot:
    worst = analysis.worst[row.label]
    costs = [entry.cost for entry in row.complete().values()]
    if calls == "all":
        spent = sum(each.forwards + each.backwards for each in costs)
    else:
        spent = max(each.prediction + each.followed_back for each in costs)
    return Spot(row.label, spent, worst.figure, row.kind, bool(worst.missing))


def _scatter(board: Board, spots: tuple[Spot, ...], calls: Calls) -> Scatter:
    of = "one prediction" if calls == "prediction" else "all columns, attack and judge"
    said = f"{place(board)}. Worst case over the board's attacks. {BARS}"
    said += HOLLOW if any(s.bound for s in spots) else ""
    label = f"network calls of {of} (images forwards + backwards, per image)"
    return Scatter(spots, Axis(label, log=True), "robust accuracy (%)", said)


def _left_out(series: Sequence[object]) -> str:
    return f"{MOST} of {len(series)} rows. " if len(series) > MOST else ""


def _how(defense: str, attacks: str, choice: Choice, dataset: str) -> str:
    chosen = " ".join(f"--defense {name}" for name in choice.defenses) or f"--defense {defense}"
    preset = f" --preset {choice.preset}" if choice.preset else ""
    return f"bench run {chosen} --attacks {attacks} --dataset {dataset}{preset}"
