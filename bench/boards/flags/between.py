"""What several measurements of one defense say of each other: of a row, and across boards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from bench.boards.board import CLEAN, Board, Entry, Row
from bench.boards.flags.knowledge import UNBOUNDED, empty, facts, follows, part_of, radius
from bench.boards.flags.single import SHARE
from bench.boards.pairs import apart
from bench.facts import Knows
from bench.spec import Part, Settings, number
from bench.stats import TOLERANCE

Said = tuple[str, str]
"""A column and a sentence on it."""


def above_clean(entries: Mapping[str, Entry], threat: str) -> Iterator[Said]:
    """Attacks that make a defense better."""
    clean = next((entry for entry in entries.values() if entry.threat == CLEAN), None)
    attacked = {n: e for n, e in entries.items() if clean and e.threat == threat}
    gaps = apart([(entry, clean) for entry in attacked.values() if clean])
    for name, above in zip(attacked, gaps, strict=True):
        if above and above.low > 0:
            yield (
                name,
                "accuracy under attack is above clean accuracy beyond the interval: "
                "the attack moves images the wrong way",
            )


def less_does_more(entries: Mapping[str, Entry]) -> Iterator[Said]:
    """Attacks that know less, and yet do more than the best one that knows more.

    One that does not say what it knows counts as knowing less.
    """
    strong = informed(entries)
    if not strong:
        return
    best = _strongest(strong)
    weak = {n: e for n, e in entries.items() if n not in strong and facts(e).knows != "mixed"}
    gaps = apart([(strong[best], entry) for entry in weak.values()])
    for (name, entry), gap in zip(weak.items(), gaps, strict=True):
        if not gap or gap.low <= 0:
            continue
        points = f"leaves {100 * gap.value:.1f} points less accuracy"
        misled = "the gradients that the adaptive attacks use mislead them"
        if facts(entry).knows:
            yield name, f"knows less than {best} and yet {points}: {misled}"
        else:
            yield name, f"{points} than {best} and does not say what it knows; if less, {misled}"


def noise_as_good(entries: Mapping[str, Entry]) -> Iterator[Said]:
    """Attacks that leave what random noise leaves, and something worth attacking.

    Not in a ball of radius 0, where every attack leaves that. As good: the whole interval of the
    difference lies within TOLERANCE; that too few images show no difference is not enough.
    """
    noises = {n: e for n, e in entries.items() if facts(e).noise and not empty(e.threat)}
    if not noises:
        return
    noise = _strongest(noises)
    others = informed(entries) | knowing(entries, "")
    gaps = apart([(noises[noise], entry) for entry in others.values()])
    for (name, entry), gap in zip(others.items(), gaps, strict=True):
        if gap and gap.high <= TOLERANCE and entry.figure.low > SHARE:
            yield (
                name,
                f"random noise in the ball ({noise}) is as good: {name} leaves only "
                f"{100 * gap.value:.1f} points less accuracy",
            )


def not_converged(entries: Mapping[str, Entry]) -> Iterator[Said]:
    """Columns that the same attack with more of its budget falls short of."""
    found = {n: part for n, entry in entries.items() if (part := part_of(entry))}
    alike: dict[str, list[str]] = {}
    for name, part in found.items():
        alike.setdefault(part.name, []).append(name)
    asked = [
        (name, other, key)
        for name, part in found.items()
        for other in alike[part.name]
        if (key := _more(part, found[other], facts(entries[name]).budget))
    ]
    gaps = apart([(entries[name], entries[other]) for name, other, _ in asked])
    for (name, other, key), gap in zip(asked, gaps, strict=True):
        if gap and gap.low > 0:
            yield (
                name,
                f"{other} leaves {100 * gap.value:.1f} points less accuracy: "
                f"{key}={dict(found[name].settings)[key]} is not enough",
            )


def _more(part: Part, longer: Part, budget: Collection[str]) -> str:
    """The one setting, of an attack's budget, of which the same attack has more elsewhere."""
    mine, theirs = dict(part.settings), dict(longer.settings)
    if mine.keys() != theirs.keys():
        return ""
    more = [key for key in mine if mine[key] != theirs[key]]
    if len(more) != 1 or more[0] not in budget or not _larger(theirs, mine, more[0]):
        return ""
    return more[0]


def exact_against_bpda(entries: Mapping[str, Entry]) -> Iterator[Said]:
    """Which of the two gradients through the purifier finds more, where both were followed."""
    by = {
        gradient: {n: e for n, e in entries.items() if follows(e) == gradient}
        for gradient in ("bpda", "exact")
    }
    if not all(by.values()):
        return
    bpda, exact = (_strongest(by[gradient]) for gradient in ("bpda", "exact"))
    (gap,) = apart([(entries[bpda], entries[exact])])
    if gap and gap.low > 0:
        yield (
            bpda,
            "BPDA is weaker than the exact gradient here: "
            f"{exact} leaves {100 * gap.value:.1f} points less accuracy",
        )
    if gap and gap.high < 0:
        yield (
            exact,
            "the exact gradient is weaker than BPDA here: "
            f"{bpda} leaves {-100 * gap.value:.1f} points less accuracy",
        )


def misses_what_exists(board: Board, row: Row, boards: Iterable[Board]) -> Iterator[Said]:
    """Attacks that leave images right even where any image can be made the same grey.

    The best one, and the best of those that do not say what they know. On the board of that threat,
    and on every other one with the same attack on the same defense.
    """
    for other in boards:
        if other.subset != board.subset or radius(other.threat) < UNBOUNDED:
            continue
        found = next((r for r in other.rows if r.settings == row.settings), None)
        there = found.complete(other.threat) if found else {}
        groups = (informed(there), knowing(there, ""))
        for best in dict.fromkeys(_strongest(group) for group in groups if group):
            mine, left = row.complete().get(best), there[best].figure
            same = mine is not None and part_of(mine) == part_of(there[best])
            if same and left.low > SHARE:
                yield (
                    best,
                    f"within {other.threat}, where every image can be made the same grey, "
                    f"{100 * left.value:.1f} % stay right: it does not find points that exist",
                )


def informed(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The attacks that know the whole defense; without any (a bare classifier), the blind ones.

    Without those either, the ones that do not say.
    """
    return knowing(entries, "all") or knowing(entries, "blind") or knowing(entries, "")


def knowing(entries: Mapping[str, Entry], what: Knows) -> dict[str, Entry]:
    """The attacks that say that they know just that."""
    return {n: e for n, e in entries.items() if facts(e).knows == what}


def _larger(one: Settings, other: Settings, key: str) -> bool:
    """Whether a setting is a larger number in one than in the other."""
    try:
        return number(one[key]) > number(other[key])
    except (ValueError, ZeroDivisionError):
        return False


def _strongest(entries: Mapping[str, Entry]) -> str:
    return min(entries, key=lambda name: float(entries[name].values.mean()))
