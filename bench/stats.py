"""Intervals, paired comparisons and verdicts on per-image correctness; NumPy and scipy.special.

The unit that repeats is the block: an image, or the source region that several images share. Draws
of one image and images of one block are never counted as independent (docs/semantics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
TOLERANCE = 0.05
PERMUTATIONS = 9_999
AT_ONCE = 64
"""Comparisons whose draws are made together."""
# Weight, in blocks, of the cautious variance in the estimated one: it keeps intervals open at
# 0 and 100 % and when few blocks hold all the failures.
PRIOR_BLOCKS = 2


@dataclass(frozen=True)
class Figure:
    """A share or a difference of shares (fractions, not percent) with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """a minus b on the same images: the paired difference, a two-sided p and the test's name.

    images: how many. gains, losses: the discordant ones, on which a is right more often than b,
    and less often.
    """

    difference: Figure
    p: float
    test: str
    images: int
    gains: int
    losses: int


def wilson(share: float, n: float, quantile: float | None = None) -> Figure:
    """Wilson's score interval of `share` out of n independent trials (Wilson 1927).

    n may be an effective number; `quantile` replaces the normal one (Student's, for few blocks).
    """
    z = _normal() if quantile is None else quantile
    low, high = _score(np.array(share), np.array(n), np.array(z))
    return Figure(share, float(low), float(high))


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> Figure:
    """The exact interval of a binomial share, never too short (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Figure(successes / n, float(low), float(high))


def certified_radius(successes: int, n: int, alpha: float, sigma: float) -> float | None:
    """l2 radius within which smoothing with noise `sigma` keeps a class that n draws gave so often.

    sigma * quantile of the one-sided Clopper-Pearson bound at 1 - alpha; None (abstain) where that
    bound is below 1/2 (Cohen et al. 2019, CERTIFY).
    """
    from scipy.special import ndtri

    share = clopper_pearson(successes, n, 1 - 2 * alpha).low
    return None if share < 0.5 else float(sigma * ndtri(share))


def mean_interval(values: Floats, block: Ints) -> Figure:
    """The mean of per-image correctness `values` [N] in [0,1], with images grouped by `block` [N].

    Verdicts of independent images: Wilson. Otherwise Wilson at the effective number of images
    p(1-p)/var, var clustered by block with C/(C-1), and Student's quantile at C-1. var is drawn
    towards that of one verdict per block by the weight of PRIOR_BLOCKS against the blocks that
    hold the rarer verdict; at 0 or 100 % the effective number is therefore C, the blocks.
    """
    return mean_figures([values], block)[0]


def mean_figures(rows: Sequence[Floats], block: Ints) -> list[Figure]:
    """`mean_interval` of several samples [N] of the same blocks, at once."""
    if not rows:
        return []
    ends = zip(*mean_intervals(np.stack(rows), block), strict=True)
    return [
        Figure(float(values.mean()), float(low), float(high))
        for values, (low, high) in zip(rows, ends, strict=True)
    ]


def mean_intervals(values: Floats, block: Ints) -> tuple[Floats, Floats]:
    """Low and high ends, each [R], of `mean_interval` for R samples [R,N] of the same blocks."""
    p, n = values.mean(axis=1), values.shape[1]
    place, blocks = _places(block)
    verdicts = ((values == 0) | (values == 1)).all(axis=1) & (blocks == n)
    if blocks < 2 and not verdicts.all():
        return np.zeros(len(p)), np.ones(len(p))
    spread = p * (1 - p)
    right, size = values, np.ones(n)
    if blocks < n:
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        right, size = np.add.reduceat(values[:, order], starts, axis=1), _sums(size, place)
    informative = np.minimum((right > 1e-9).sum(axis=1), (size - right > 1e-9).sum(axis=1))
    estimated = _variance(right - p[:, None] * size, n)
    weight = PRIOR_BLOCKS / (PRIOR_BLOCKS + informative)
    variance = (1 - weight) * estimated + weight * np.maximum(estimated, spread / blocks)
    effective = np.divide(spread, variance, out=np.full(len(p), float(blocks)), where=spread > 0)
    z = np.where(verdicts, _normal(), _student(blocks - 1) if blocks > 1 else 0.0)
    return _score(p, np.where(verdicts, n, effective), z)


def compare(a: Floats, b: Floats, block: Ints) -> Comparison:
    """Two defenses on the same images: correctness a, b [N], paired per image.

    One verdict per independent image: exact McNemar. Otherwise a permutation of signs by block
    (seeded; two-sided). The interval is Student's at C-1 around the paired mean, its variance
    clustered by block with PRIOR_BLOCKS blocks of full disagreement added, so that two equal
    rows do not get an interval of width zero.
    """
    return compare_all([(a, b)], block)[0]


def compare_all(pairs: Sequence[tuple[Floats, Floats]], block: Ints) -> list[Comparison]:
    """`compare` of several pairs on the same images, at once."""
    if not pairs:
        return []
    first, second = (np.stack(column) for column in zip(*pairs, strict=True))
    delta = first - second
    place, blocks = _places(block)
    # Means of the same verdicts in another order may differ in their last digit.
    gains, losses = ((sign * delta > 1e-9).sum(axis=1).tolist() for sign in (1, -1))
    names, ps = ["one block: no test"] * len(pairs), [1.0] * len(pairs)
    if blocks > 1:
        both = np.concatenate([first, second], axis=1)
        single = np.isin(both, (0.0, 1.0)).all(axis=1) & (blocks == delta.shape[1])
        names = ["McNemar" if exact else "permutation" for exact in single.tolist()]
        drawn = iter(permutations(_block_sums(delta[~single], place)))
        ps = [
            mcnemar(*counts) if name == "McNemar" else next(drawn)
            for name, *counts in zip(names, gains, losses, strict=True)
        ]
    columns = zip(_differences(delta, block), ps, names, gains, losses, strict=True)
    images = delta.shape[1]
    return [Comparison(figure, p, name, images, up, down) for figure, p, name, up, down in columns]


def difference(a: Floats, b: Floats, block: Ints) -> Figure:
    """The paired difference of `compare` alone, without a test."""
    return differences([(a, b)], block)[0]


def differences(pairs: Sequence[tuple[Floats, Floats]], block: Ints) -> list[Figure]:
    """`difference` of several pairs on the same images, at once."""
    return _differences(np.stack([a - b for a, b in pairs]), block) if pairs else []


def _differences(delta: Floats, block: Ints) -> list[Figure]:
    """The mean of each row of paired differences [R,N], with its interval."""
    place, blocks = _places(block)
    mean, half = delta.mean(axis=1), np.full(len(delta), 2.0)  # one block: no idea
    if blocks > 1:
        sums = _block_sums(delta - mean[:, None], place)
        variance = _variance(sums, delta.shape[1]) + PRIOR_BLOCKS / blocks**2
        half = _student(blocks - 1) * np.sqrt(variance)
    ends = np.maximum(-1.0, mean - half).tolist(), np.minimum(1.0, mean + half).tolist()
    return [Figure(*each) for each in zip(mean.tolist(), *ends, strict=True)]


def mcnemar(gains: int, losses: int) -> float:
    """Exact two-sided p of a fair coin for the discordant images (McNemar 1947)."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(gains, losses), gains + losses, 0.5)))


def permutation(sums: Floats) -> float:
    """Two-sided p that the signs of the per-block differences `sums` [C] are fair coins.

    By PERMUTATIONS seeded draws, which show no p below 1/(1 + PERMUTATIONS), too much to be seen
    after Holm among hundreds of comparisons; where Hoeffding's bound on that p (1963, Theorem 2)
    is below it, the bound.
    """
    return permutations(sums[None])[0]


def permutations(sums: Floats) -> list[float]:
    """`permutation` of each row of `sums` [R,C]; all meet the same draws."""
    observed, square = np.abs(sums.sum(axis=1)).tolist(), (sums**2).sum(axis=1).tolist()
    found = [
        2 * math.exp(-(far**2) / (2 * size)) if size else 1.0
        for far, size in zip(observed, square, strict=True)
    ]
    open_ = [place for place, p in enumerate(found) if p >= 1 / (1 + PERMUTATIONS)]
    for start in range(0, len(open_), AT_ONCE):
        some = open_[start : start + AT_ONCE]
        drawn = np.abs(_signs(sums.shape[1]) @ sums[some].T)
        hits = (drawn >= np.array(observed)[some] - 1e-9).sum(axis=0).tolist()
        for place, more in zip(some, hits, strict=True):
            found[place] = (1 + more) / (1 + PERMUTATIONS)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for all comparisons of a board, in the given order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted


def verdict(measured: Figure, reported: float, differs: Sequence[str] = ()) -> str:
    """What a measurement says of a reported share (fractions).

    `differs` names what is not the same (data set, subset, base classifier, budget): then the two
    are not comparable. `reproduced`: the whole interval of the difference is within TOLERANCE;
    `lower` / `higher`: it is not, and excludes 0; else `undecided`.
    """
    if differs:
        return f"not comparable: {', '.join(differs)}"
    low, high = measured.low - reported, measured.high - reported
    if low >= -TOLERANCE and high <= TOLERANCE:
        return "reproduced"
    if high < 0:
        return "lower"
    return "higher" if low > 0 else "undecided"


def _places(block: Ints) -> tuple[Ints, int]:
    """The block of each image as 0..C-1 [N], and C."""
    return _placed(np.asarray(block, dtype=np.int64).tobytes())


@lru_cache(maxsize=64)
def _placed(block: bytes) -> tuple[Ints, int]:
    found, place = np.unique(np.frombuffer(block, dtype=np.int64), return_inverse=True)
    place.setflags(write=False)
    return place, len(found)


def _sums(values: Floats, place: Ints) -> Floats:
    sums: Floats = np.bincount(place, weights=values).astype(np.float64)
    return sums


def _block_sums(values: Floats, place: Ints) -> Floats:
    """Sums by block of each row [R,N], [R,C]."""
    blocks = int(place.max()) + 1
    at = place + blocks * np.arange(len(values))[:, None]
    return _sums(values.ravel(), at.ravel()).reshape(len(values), blocks)


def _variance(residuals: Floats, n: int) -> Floats:
    """Variance of a mean over n images, from the residual sums [...,C] by block, with C/(C-1)."""
    blocks = residuals.shape[-1]
    variance: Floats = blocks / max(blocks - 1, 1) * (residuals**2).sum(axis=-1) / n**2
    return variance


def _score(share: Floats, n: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Low and high ends of Wilson's interval at `z` deviations."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and 100 % rounding must not leave the value outside of its own interval.
    low = np.maximum(0.0, np.minimum(share, middle - half))
    return low, np.minimum(1.0, np.maximum(share, middle + half))


@lru_cache(maxsize=8)
def _signs(blocks: int) -> Floats:
    random = np.random.default_rng(20210611)
    return random.integers(0, 2, size=(PERMUTATIONS, blocks)).astype(np.float64) * 2 - 1


@lru_cache
def _student(degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


@lru_cache
def _normal() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + CONFIDENCE) / 2))
