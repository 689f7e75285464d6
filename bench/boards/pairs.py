"""Numbers of a board against each other over common seeds, and the figures of many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bench.boards.board import mean_over
from bench.boards.worst import Item
from bench.stats import (
    Comparison,
    Figure,
    Floats,
    compare_all,
    differences,
    mean_figures,
    mean_interval,
)


def deviation(item: Item) -> float | None:
    """Standard deviation of the mean over seeds, apart from the image interval; None for one."""
    if len(item.by_seed) < 2:
        return None
    return float(np.std([values.mean() for values in item.by_seed.values()], ddof=1))


def paired(pairs: Sequence[tuple[Item, Item]]) -> list[Comparison | None]:
    """Each a minus b over the seeds that both have, or None where the two may not be compared.

    Those on the same blocks are tested at once.
    """
    found: list[Comparison | None] = [None] * len(pairs)
    both = {n: values for n, (a, b) in enumerate(pairs) if (values := _both(a, b))}
    for places in by_block({n: pairs[n][0] for n in both}):
        tests = compare_all([both[n] for n in places], pairs[places[0]][0].block)
        for n, test in zip(places, tests, strict=True):
            found[n] = test
    return found


def work_out(items: Iterable[Item]) -> None:
    """The figures of many items, those on the same blocks at once."""
    waiting = dict(enumerate(item for item in items if "figure" not in vars(item)))
    for places in by_block(waiting):
        some = [waiting[n] for n in places]
        figures = mean_figures([item.values for item in some], some[0].block)
        for item, figure in zip(some, figures, strict=True):
            vars(item)["figure"] = figure  # where the cached property looks for it


def by_block(items: Mapping[int, Item]) -> Iterable[list[int]]:
    """The keys of items, together where the images stand in the same blocks."""
    found: dict[bytes, list[int]] = {}
    for n, item in items.items():
        found.setdefault(item.block.tobytes(), []).append(n)
    return found.values()


def apart(pairs: Sequence[tuple[Item, Item]]) -> list[Figure | None]:
    """The differences of `paired` alone, without a test."""
    found: list[Figure | None] = [None] * len(pairs)
    both = {n: values for n, (a, b) in enumerate(pairs) if (values := _both(a, b))}
    for places in by_block({n: pairs[n][0] for n in both}):
        gaps = differences([both[n] for n in places], pairs[places[0]][0].block)
        for n, gap in zip(places, gaps, strict=True):
            found[n] = gap
    return found


def over_common(a: Item, b: Item) -> tuple[Figure, Figure]:
    """The figures of both over the seeds that both have: what their difference is the one of."""
    seeds = common_seeds(a, b)
    first, second = (
        item.figure
        if list(item.by_seed) == seeds
        else mean_interval(_over(item, seeds), item.block)
        for item in (a, b)
    )
    return first, second


def common_seeds(a: Item, b: Item) -> list[int]:
    """The seeds that both have, in order."""
    return sorted(set(a.by_seed) & set(b.by_seed))


def _both(a: Item, b: Item) -> tuple[Floats, Floats] | None:
    """The values of both over the seeds that both have, if on the same images."""
    common = common_seeds(a, b)
    if not common or not np.array_equal(a.index, b.index):
        return None
    return _over(a, common), _over(b, common)


def _over(item: Item, seeds: list[int]) -> Floats:
    """Its values over some seeds, in their order."""
    if list(item.by_seed) == seeds:
        return item.values
    return mean_over(item.by_seed[seed] for seed in seeds)
