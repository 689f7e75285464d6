"""What is derived from several cells of a board, and its tidy rows: one figure, one text for it.

Percent with one decimal, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from bench.boards.board import Board, Entry, Row, mean_over, mixed_weights
from bench.boards.metrics import (
    Tries,
    by_variant,
    certified,
    k_of,
    resubmitted,
    rounded,
    vote,
    worst_of,
)
from bench.boards.pairs import by_block, paired, work_out
from bench.boards.ranking import Rank, Tests, differing_attacks, differing_weights, ranks, tests_of
from bench.boards.worst import Item, Worst, worst
from bench.stats import Comparison, Figure, Floats, difference, holm, mean_figures

WORST = "worst case"
ON = "accuracy on "
WITHIN = "certified within "


@dataclass(frozen=True, eq=False)
class Analysis:
    """A board with what is derived from several of its cells.

    worst: row label -> worst case. rank: row label -> its ranks by that, where it has any.
    best: (column, classifier) -> row label of the best control there. against: (row label,
    column) -> (difference to that control, p after Holm). tests: of every two worst cases.
    """

    board: Board
    worst: Mapping[str, Worst]
    rank: Mapping[str, Rank]
    best: Mapping[tuple[str, str], str]
    against: Mapping[tuple[str, str], tuple[Comparison, float]]
    tests: Tests = field(default_factory=dict)

    def item(self, row: Row, column: str) -> Item | None:
        """What stands at (row, column), when it has a number."""
        if column == WORST:
            return self.worst.get(row.label)
        return row.numbers.get(column)

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


@lru_cache(maxsize=32)  # of the same board by every format that it is written in
def analyse(board: Board, *, compared: bool = True) -> Analysis:
    """Worst cases, the best control of each column, and every row's difference to it.

    Purifiers are compared on one classifier only. Without `compared` there are only worst cases:
    testing rows against each other takes the time.
    """
    worst_cases = {row.label: found for row in board.rows if (found := worst(board, row))}
    work_out([*worst_cases.values(), *(e for row in board.rows for e in row.numbers.values())])
    if not compared:
        return Analysis(board, worst_cases, {}, {}, {})
    tests = tests_of(board, worst_cases)
    plain = Analysis(board, worst_cases, ranks(board, worst_cases, tests), {}, {}, tests)
    best: dict[tuple[str, str], str] = {}
    pairs: dict[tuple[str, str], tuple[Item, Item]] = {}
    classifiers = dict.fromkeys(row.classifier for row in board.rows)
    for column, classifier in product((*board.columns, WORST), classifiers):
        items = {row: plain.item(row, column) for row in board.rows if row.classifier == classifier}
        whole = {row: item for row, item in items.items() if item and not item.missing}
        controls = [row for row in whole if row.control]
        if not controls:
            continue
        # Ties go to the row that stands first on the board.
        champion = max(controls, key=lambda row: float(whole[row].values.mean()))
        best[column, classifier] = champion.label
        for row, item in whole.items():
            attacks = differing_attacks(row, champion, board.threat)
            unlike = bool(attacks) if column == WORST else column in attacks
            if not row.control and not unlike and not differing_weights(row, champion):
                pairs[row.label, column] = (item, whole[champion])
    asked = zip(pairs, paired(list(pairs.values())), strict=True)
    gaps = {key: test for key, test in asked if test}
    adjusted = holm([test.p for test in gaps.values()])
    against = {key: (gaps[key], p) for key, p in zip(gaps, adjusted, strict=True)}
    return replace(plain, best=best, against=against)


def percent(value: float, sign: bool = False) -> str:
    """A fraction as percent with one decimal; never a negative zero."""
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return text.replace("-", "+" if sign else "") if text == "-0.0" else text


def p_text(p: float) -> str:
    """A p value with three decimals, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True)
class Extra:
    """The figures of one measurement besides its accuracy, those that it has.

    k: of `worst_of`. resubmit: by metric, robust and clean at as many tries, then their difference.
    groups: by corruption, by severity, and by both. within: by certified radius.
    """

    k: int
    vote: Figure | None
    worst_of: Figure | None
    protocol: Figure | None
    rounded: Figure | None
    groups: Mapping[str, Figure]
    within: Mapping[float, Figure]
    resubmit: Mapping[str, Figure] = field(default_factory=dict)

    def named(self) -> dict[str, Figure]:
        """All of them, by the metrics of the tidy rows."""
        single = {
            "vote": self.vote,
            f"worst of {self.k}": self.worst_of,
            "protocol": self.protocol,
            "rounded to 8 bits": self.rounded,
        }
        return {
            **{name: figure for name, figure in single.items() if figure},
            **self.resubmit,
            **{f"{ON}{name}": figure for name, figure in self.groups.items()},
            **{f"{WITHIN}{radius:g}": figure for radius, figure in self.within.items()},
        }


def extra(entry: Entry) -> Extra:
    """What a measurement has besides its accuracy; made once."""
    extras([entry])
    return _EXTRAS[entry]


_EXTRAS: WeakKeyDictionary[Entry, Extra] = WeakKeyDictionary()


def extras(entries: Iterable[Entry]) -> None:
    """Make what `extra` says of many measurements, those on the same blocks at once."""
    waiting = dict(enumerate(entry for entry in entries if entry not in _EXTRAS))
    for places in by_block(waiting):
        some = [(waiting[n], _means(waiting[n])) for n in places]
        every = [values for _, means in some for values in means.values()]
        figures = iter(mean_figures(every, some[0][0].block))
        for entry, means in some:
            _EXTRAS[entry] = _extra(entry, {key: next(figures) for key in means})


def _means(entry: Entry) -> dict[tuple[str, Any], Floats]:
    """Kind and name of each figure besides accuracy -> what it is the mean of [N]."""
    seeds = list(entry.seeds.values())
    k = _k(entry)
    means: dict[tuple[str, Any], Floats] = {}

    def over_seeds(kind: str, values: Iterable[Floats | None], name: Any = "") -> None:
        there = [each for each in values if each is not None]
        if len(there) == len(seeds):
            means[kind, name] = mean_over(there)

    if k:
        over_seeds("vote", map(vote, seeds))
        over_seeds("worst of", (worst_of(measured, k) for measured in seeds))
    own = (None if m.protocol is None else m.protocol.astype(float) for m in seeds)
    over_seeds("protocol", own)
    over_seeds("rounded", map(rounded, seeds))
    again = [resubmitted(measured) for measured in seeds]
    for name in ("robust", "untouched"):
        over_seeds("resubmit", (_share(each, name) for each in again), name)
    groups = [by_variant(measured) for measured in seeds]
    for name in groups[0]:
        over_seeds("group", (group[name] for group in groups), name)
    proven = [certified(measured) for measured in seeds]
    none = np.zeros(len(entry.block))
    for radius in max(proven, key=len):
        over_seeds("within", (p.get(radius, none) for p in proven), radius)
    return means


def _share(tries: Tries | None, name: str) -> Floats | None:
    """The images [N] that survived, `robust` or `clean`."""
    return None if tries is None else {"robust": tries.robust, "untouched": tries.clean}[name]


def _k(entry: Entry) -> int:
    return k_of(min(measured.draws for measured in entry.seeds.values()))


def _extra(entry: Entry, figures: Mapping[tuple[str, Any], Figure]) -> Extra:
    return Extra(
        _k(entry),
        vote=figures.get(("vote", "")),
        worst_of=figures.get(("worst of", "")),
        protocol=figures.get(("protocol", "")),
        rounded=figures.get(("rounded", "")),
        groups={name: figure for (kind, name), figure in figures.items() if kind == "group"},
        within={name: figure for (kind, name), figure in figures.items() if kind == "within"},
        resubmit=_resubmit(entry, figures),
    )


def _resubmit(entry: Entry, figures: Mapping[tuple[str, Any], Figure]) -> Mapping[str, Figure]:
    """Robust and clean at as many tries, and the first minus the second: this protocol's headline.

    Nothing where seeds differ in their numbers of tries.
    """
    found = [each for m in entry.seeds.values() if (each := resubmitted(m))]
    numbers = {(each.steps, each.tries) for each in found}
    if len(numbers) != 1 or len(found) < len(entry.seeds):
        return {}
    tries = f"resubmit@{found[0].tries}"
    robust, clean = mean_over(t.robust for t in found), mean_over(t.clean for t in found)
    return {
        f"robust-{tries}": figures["resubmit", "robust"],
        f"clean-{tries}": figures["resubmit", "untouched"],
        f"{tries} minus clean": difference(robust, clean, entry.block),
    }


def draws_text(*entries: Entry) -> str:
    """The judge's draws per image, a range where they differ."""
    return range_text({m.draws for entry in entries for m in entry.seeds.values()})


def range_text(values: Iterable[int]) -> str:
    """`3`, or `1-3` where there are several."""
    ends = sorted(values)
    return "-".join(map(str, dict.fromkeys((ends[0], ends[-1])))) if ends else ""


def numbers(figure: Figure, sign: bool = False) -> dict[str, str]:
    """A figure and its interval as cells of a tidy row."""
    values = {"measured": figure.value, "low": figure.low, "high": figure.high}
    return {name: percent(value, sign) for name, value in values.items()}
