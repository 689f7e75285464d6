"""What is derived from several cells of a board, and its tidy rows: one figure, one text for it.

Percent with one decimal, everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import product

import numpy as np

from bench import beside
from bench.boards import (
    Board,
    Entry,
    Row,
    Worst,
    deviation,
    figure,
    mean_over,
    mixed_weights,
    paired,
    worst,
)
from bench.claims import ACCURACY, Literature, fewer, literature
from bench.errors import BenchError
from bench.metrics import Measured, by_variant, certified, cost, k_of, rounded, vote, worst_of
from bench.ranking import Rank, differing_weights, ranked, ranks
from bench.stats import Comparison, Figure, holm, mean_interval

WORST = "worst case"
ON = "accuracy on "
WITHIN = "certified within "
FIELDS = (
    *("dataset", "subset", "preset", "defense", "attack", "threat", "metric"),
    *("measured", "low", "high", "n", "seeds", "draws"),
    *("forwards", "backwards", "seconds_per_image", "reported", "external", "verdict", "note"),
    *("rank", "group"),
)


@dataclass(frozen=True)
class BoardSpec:
    """What a board says besides its numbers: `leaderboards/boards/<data set>.toml`.

    published: what the papers and others say, which stands beside the numbers. how: the lines that
    fill an empty board.
    """

    title: str
    prose: tuple[str, ...] = ()
    published: Literature = field(default_factory=Literature)
    how: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Analysis:
    """A board with what is derived from several of its cells.

    worst: row label -> worst case. rank: row label -> its ranks by that, where it has any.
    best: (column, classifier) -> row label of the best control there. against: (row label,
    column) -> (difference to that control, p after Holm).
    """

    board: Board
    worst: Mapping[str, Worst]
    rank: Mapping[str, Rank]
    best: Mapping[tuple[str, str], str]
    against: Mapping[tuple[str, str], tuple[Comparison, float]]

    def item(self, row: Row, column: str) -> Entry | Worst | None:
        """What stands at (row, column), when it has a number."""
        if column == WORST:
            return self.worst.get(row.label)
        return row.complete().get(column)

    def why_blank(self, row: Row, column: str) -> str:
        """The reason for a missing number at (row, column); empty where there is one."""
        if self.item(row, column) is not None:
            return ""
        if column != WORST:
            return self.board.blank(row, column)
        mixed = mixed_weights(row.complete().values())
        if mixed:
            return f"cells were measured with different weights of {', '.join(mixed)}"
        return f"no complete attack within {self.board.threat}"


def spec_names() -> list[str]:
    """The data sets that have a committed board."""
    found = (files("leaderboards") / "boards").iterdir()
    return sorted(path.name[: -len(".toml")] for path in found if path.name.endswith(".toml"))


def load_spec(dataset: str) -> BoardSpec:
    """The committed spec of a data set's board, or a plain one where there is none."""
    path = files("leaderboards") / "boards" / f"{dataset}.toml"
    if not path.is_file():
        return BoardSpec(f"{dataset}: purification measured", (), literature(dataset))
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        how = tuple(data.get("how", ()))
        return BoardSpec(data["title"], tuple(data["prose"]), literature(dataset), how)
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"board spec {dataset}.toml is damaged: {error}") from None


def how_to_run(dataset: str) -> str:
    """The line that fills an empty board."""
    return f"bench run --defense adp --attacks all --dataset {dataset}"


def analyse(board: Board, *, compared: bool = True) -> Analysis:
    """Worst cases, the best control of each column, and every row's difference to it.

    Purifiers are compared on one classifier: a control on another says nothing of them. Without
    `compared` rows are not tested against each other, which takes the time: only worst cases.
    """
    worst_cases = {row.label: found for row in board.rows if (found := worst(board, row))}
    if not compared:
        return Analysis(board, worst_cases, {}, {}, {})
    plain = Analysis(board, worst_cases, ranks(board, worst_cases), {}, {})
    best: dict[tuple[str, str], str] = {}
    pending: dict[tuple[str, str], Comparison] = {}
    classifiers = dict.fromkeys(row.classifier for row in board.rows)
    for column, classifier in product((*board.columns, WORST), classifiers):
        rows = [row for row in board.rows if row.classifier == classifier]
        items = [(row, _whole(plain.item(row, column))) for row in rows]
        controls = [(row, item) for row, item in items if row.control and item]
        if not controls:
            continue
        # Ties go to the row that stands first on the board.
        champion, base = max(controls, key=lambda pair: float(pair[1].values.mean()))
        best[column, classifier] = champion.label
        for row, item in items:
            if row.control or item is None or differing_weights(row, champion):
                continue
            comparison = paired(item, base)
            if comparison is not None:
                pending[row.label, column] = comparison
    adjusted = holm([comparison.p for comparison in pending.values()])
    against = {key: (pending[key], p) for key, p in zip(pending, adjusted, strict=True)}
    return replace(plain, best=best, against=against)


def tidy(boards: list[Board], spec: BoardSpec, dataset: str) -> list[dict[str, str]]:
    """One row per (defense, attack, threat, metric), all text, keys as FIELDS.

    Rows of the boards, then what was published and no board holds.
    """
    rows = [row for board in boards for row in tidy_board(analyse(board), spec)]
    rows += tidy_published(boards, spec, dataset)
    nothing = {"dataset": dataset, "note": f"nothing measured; run: {how_to_run(dataset)}"}
    return rows or _padded([nothing])


def tidy_board(analysis: Analysis, spec: BoardSpec) -> list[dict[str, str]]:
    """The rows of one board."""
    return _padded(_tidy_board(analysis, spec))


def tidy_published(boards: list[Board], spec: BoardSpec, dataset: str) -> list[dict[str, str]]:
    """The rows of what was published and stands on none of a data set's boards."""
    return _padded(beside.unmeasured(boards, spec.published, dataset))


def _padded(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{name: row.get(name, "") for name in FIELDS} for row in rows]


def percent(value: float, sign: bool = False) -> str:
    """A fraction as percent with one decimal; never a negative zero."""
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return text.replace("-", "+" if sign else "") if text == "-0.0" else text


def p_text(p: float) -> str:
    """A p value with three decimals, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _tidy_board(analysis: Analysis, spec: BoardSpec) -> Iterator[dict[str, str]]:
    board = analysis.board
    for row in ranked(board, analysis.worst):
        for column in (*board.columns, WORST):
            item = analysis.item(row, column)
            base = {
                "dataset": board.dataset,
                "subset": board.subset,
                "preset": board.preset,
                "defense": row.label,
                "attack": column,
                "threat": _threat(board, column),
                "group": board.group,
            }
            if item is None:
                note = analysis.why_blank(row, column)
                there = spec.published.of((row.asked, column, base["threat"]))
                yield base | {"metric": ACCURACY, "note": note} | beside.cells(there, note)
                continue
            base |= _size(board, item)
            yield base | _headline(analysis, spec, row, column, item)
            if isinstance(item, Entry):
                for metric, found in extra_metrics(item):
                    there = spec.published.of((row.asked, column, item.threat), metric)
                    cells = beside.cells(there) | beside.verdicts(there, found, board)
                    yield base | {"metric": metric} | _numbers(found) | cells
            if (row.label, column) in analysis.against:
                comparison, p = analysis.against[row.label, column]
                control = analysis.best[column, row.classifier]
                note = f"minus {control}; {comparison.test}, p after Holm {p_text(p)}"
                yield (
                    base
                    | {"metric": "difference to best control", "note": note}
                    | _numbers(comparison.difference)
                )


def _headline(
    analysis: Analysis, spec: BoardSpec, row: Row, column: str, item: Entry | Worst
) -> dict[str, str]:
    found = figure(item)
    cells = {"metric": ACCURACY} | _numbers(found)
    if isinstance(item, Worst) and row.label in analysis.rank:
        cells["rank"] = str(analysis.rank[row.label])
    notes = []
    if isinstance(item, Worst) and item.missing:
        notes.append(f"upper bound: not over {', '.join(item.missing)}")
    spread = deviation(item)
    if spread is not None:
        notes.append(f"deviation over seeds {percent(spread)}")
    threat = item.threat if isinstance(item, Entry) else analysis.board.threat
    there = spec.published.of((row.asked, column, threat))
    if there.reported:
        notes.append(fewer(analysis.board.images, there.reported))
    cells |= {"note": "; ".join(notes)} | beside.verdicts(there, found, analysis.board)
    return cells | beside.cells(there, *notes)


def extra_metrics(entry: Entry) -> Iterator[tuple[str, Figure]]:
    """Vote, worst of K, the attack's own protocol, corruption groups, radii, where they exist."""
    found = list(entry.seeds.values())
    block = entry.any.block
    k = k_of(min(measured.draws for measured in found))
    if k:
        yield "vote", mean_interval(mean_over(vote(m) for m in found), block)
        yield f"worst of {k}", mean_interval(mean_over(worst_of(m, k) for m in found), block)
    protocols = [m.protocol.astype(float) for m in found if m.protocol is not None]
    if len(protocols) == len(found):
        yield "protocol", mean_interval(mean_over(protocols), block)
    coarse = [each for m in found if (each := rounded(m)) is not None]
    if len(coarse) == len(found):
        yield "rounded to 8 bits", mean_interval(mean_over(coarse), block)
    groups = [by_variant(measured) for measured in found]
    for name in groups[0]:
        yield f"{ON}{name}", mean_interval(mean_over(g[name] for g in groups), block)
    proven = [certified(measured) for measured in found]
    for radius in max(proven, key=len):
        values = (p.get(radius, np.zeros(len(block))) for p in proven)
        yield f"{WITHIN}{radius:g}", mean_interval(mean_over(values), block)


def _size(board: Board, item: Entry | Worst) -> dict[str, str]:
    cells = {"n": str(board.images), "seeds": str(len(item.seeds))}
    if isinstance(item, Worst):
        return cells
    spent = cost(list(item.seeds.values()))
    seconds = "" if spent.seconds is None else f"{spent.seconds:.3g}"
    return cells | {
        "draws": draws_text(item),
        "forwards": f"{spent.forwards:.1f}",
        "backwards": f"{spent.backwards:.1f}",
        "seconds_per_image": seconds,
    }


def draws_text(*entries: Entry) -> str:
    """The judge's draws per image, a range where cells differ."""
    found = {m.draws for entry in entries for m in _all(entry)}
    if not found:
        return ""
    return str(min(found)) if len(found) == 1 else f"{min(found)}-{max(found)}"


def _all(entry: Entry) -> list[Measured]:
    return list(entry.seeds.values())


def _numbers(found: Figure) -> dict[str, str]:
    return {
        "measured": percent(found.value),
        "low": percent(found.low),
        "high": percent(found.high),
    }


def _threat(board: Board, column: str) -> str:
    if column == WORST:
        return board.threat
    entries = (row.entries[column] for row in board.rows if column in row.entries)
    return next((entry.threat for entry in entries), "")


def _whole(item: Entry | Worst | None) -> Entry | Worst | None:
    return None if isinstance(item, Worst) and item.missing else item
