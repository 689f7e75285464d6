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
    """a minus b on the same images: the paired difference, a two-sided p and the test's name."""

    difference: Figure
    p: float
    test: str


def wilson(share: float, n: float, quantile: float | None = None) -> Figure:
    """Wilson's score interval of `share` out of n independent trials (Wilson 1927).

    n may be an effective number; `quantile` replaces the normal one (Student's, for few blocks).
    """
    z = _normal() if quantile is None else quantile
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and 100 % rounding must not leave the value outside of its own interval.
    return Figure(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


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
    p, n = float(values.mean()), len(values)
    place, blocks = _places(block)
    if blocks == n and bool(np.isin(values, (0.0, 1.0)).all()):
        return wilson(p, n)
    if blocks < 2:
        return Figure(p, 0.0, 1.0)
    spread = p * (1 - p)
    if spread <= 0:
        return wilson(p, blocks, _student(blocks - 1))
    right, size = _sums(values, place), _sums(np.ones(n), place)
    informative = int(min((right > 1e-9).sum(), (size - right > 1e-9).sum()))
    estimated = _variance(right - p * size, n)
    weight = PRIOR_BLOCKS / (PRIOR_BLOCKS + informative)
    variance = (1 - weight) * estimated + weight * max(estimated, spread / blocks)
    return wilson(p, spread / variance, _student(blocks - 1))


def compare(a: Floats, b: Floats, block: Ints) -> Comparison:
    """Two defenses on the same images: correctness a, b [N], paired per image.

    One verdict per independent image: exact McNemar. Otherwise a permutation of signs by block
    (seeded; two-sided). The interval is Student's at C-1 around the paired mean, its variance
    clustered by block with PRIOR_BLOCKS blocks of full disagreement added, so that two equal
    rows do not get an interval of width zero.
    """
    delta = a - b
    place, blocks = _places(block)
    mean = float(delta.mean())
    if blocks < 2:
        return Comparison(Figure(mean, -1.0, 1.0), 1.0, "one block: no test")
    extra = PRIOR_BLOCKS / blocks**2
    half = _student(blocks - 1) * math.sqrt(
        _variance(_sums(delta - mean, place), len(delta)) + extra
    )
    difference = Figure(mean, max(-1.0, mean - half), min(1.0, mean + half))
    both = np.concatenate([a, b])
    if blocks == len(delta) and bool(np.isin(both, (0.0, 1.0)).all()):
        gains, losses = int((delta > 0).sum()), int((delta < 0).sum())
        return Comparison(difference, mcnemar(gains, losses), "McNemar")
    return Comparison(difference, permutation(_sums(delta, place)), "permutation")


def mcnemar(gains: int, losses: int) -> float:
    """Exact two-sided p of a fair coin for the discordant images (McNemar 1947)."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(gains, losses), gains + losses, 0.5)))


def permutation(sums: Floats) -> float:
    """Two-sided p that the signs of the per-block differences `sums` [C] are fair coins."""
    observed = abs(float(sums.sum()))
    drawn = np.abs(_signs(len(sums)) @ sums)
    hits = int((drawn >= observed - 1e-9).sum())
    return (1 + hits) / (1 + PERMUTATIONS)


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
    found, place = np.unique(block, return_inverse=True)
    return place.ravel(), len(found)


def _sums(values: Floats, place: Ints) -> Floats:
    sums: Floats = np.bincount(place, weights=values).astype(np.float64)
    return sums


def _variance(residuals: Floats, n: int) -> float:
    """Variance of a mean over n images, from the residual sum of each block, with C/(C-1)."""
    blocks = len(residuals)
    return float(blocks / (blocks - 1) * (residuals**2).sum() / n**2)


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
