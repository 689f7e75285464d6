"""Intervals cover what they say; tests agree with their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import betabinom, binom

from bench.stats import (
    Figure,
    certified_radius,
    clopper_pearson,
    compare,
    compare_all,
    difference,
    holm,
    mcnemar,
    mean_figures,
    mean_interval,
    mean_intervals,
    permutation,
    verdict,
    wilson,
)

N = 512
SHARES = (0.05, 0.2, 0.5, 0.8, 0.95)
FINE = tuple(round(0.05 * step, 2) for step in range(1, 20))
RUNS = 2500
# Three standard errors of a simulated coverage of .95.
NOISE = 3 * math.sqrt(0.95 * 0.05 / RUNS)


def coverage(values: np.ndarray, block: np.ndarray, truth: float) -> float:
    low, high = mean_intervals(values, block)
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("p", FINE)
@pytest.mark.parametrize("draws", [1, 10])
def test_independent_images_are_covered(p: float, draws: int) -> None:
    """Images differ: each has its own chance of being right, beta-distributed with mean p."""
    random = np.random.default_rng(int(100 * p) + draws)
    chance = betabinom.pmf(np.arange(draws + 1), draws, 0.5 * p, 0.5 * (1 - p))
    # How many images have so many right draws; an image's place says nothing.
    counts = random.multinomial(N, chance / chance.sum(), size=4 * RUNS)
    levels = np.tile(np.arange(draws + 1) / draws, len(counts))
    values = np.repeat(levels, counts.ravel()).reshape(len(counts), N)
    assert coverage(values, np.arange(N), p) >= 0.94


@pytest.mark.parametrize("size", [1, 4])
def test_many_intervals_are_those_of_one_sample_each(size: int) -> None:
    random = np.random.default_rng(3)
    values = random.binomial(4, random.random((6, 40))) / 4
    values[0], values[1] = 0.0, 1.0
    block = random.permutation(np.arange(40) // size)
    low, high = mean_intervals(values, block)
    found = [mean_interval(row, block) for row in values]
    assert [f.low for f in found] == pytest.approx(list(low), abs=0)
    assert [f.high for f in found] == pytest.approx(list(high), abs=0)


@pytest.mark.parametrize("p", SHARES)
@pytest.mark.parametrize("draws", [1, 10])
def test_blocks_are_covered_where_images_alone_are_not(p: float, draws: int) -> None:
    random = np.random.default_rng(int(1000 * p) + draws)
    block = np.sort(np.arange(N) % 128)
    chance = np.repeat(random.beta(2 * p, 2 * (1 - p), size=(RUNS, 128)), 4, axis=1)
    values = random.binomial(draws, chance) / draws
    clustered = coverage(values, block, p)
    assert clustered >= 0.945 - NOISE
    assert clustered > coverage(values, np.arange(N), p) + 0.02


@pytest.mark.parametrize("p", [0.01, *FINE, 0.99])
@pytest.mark.parametrize("n", [60, N])
def test_clopper_pearson_is_never_too_short(p: float, n: int) -> None:
    # Exact coverage: no simulation.
    figures = [clopper_pearson(k, n) for k in range(n + 1)]
    chance = binom.pmf(np.arange(n + 1), n, p)
    covered = sum(c for c, f in zip(chance, figures, strict=True) if f.low <= p <= f.high)
    assert covered >= 0.95


def test_paired_difference_is_covered() -> None:
    random = np.random.default_rng(5)
    block = np.repeat(np.arange(64), 2)
    shared = np.repeat(random.random((RUNS, 64)), 2, axis=1)
    a = (random.random(shared.shape) < 0.3 + 0.6 * shared).astype(float)
    b = (random.random(shared.shape) < 0.2 + 0.6 * shared).astype(float)
    hits = [
        f.low <= 0.1 <= f.high
        for x, y in zip(a[:600], b[:600], strict=True)
        for f in [compare(x, y, block).difference]
    ]
    assert np.mean(hits) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 600)


def test_wilson_and_clopper_pearson_known_values() -> None:
    assert wilson(0.1, 10).low == pytest.approx(0.017876, abs=1e-6)
    assert wilson(0.1, 10).high == pytest.approx(0.404150, abs=1e-6)
    # 0 of n: the upper bound is 1 - (alpha/2)^(1/n).
    assert clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20))


def test_verdicts_of_independent_images_are_wilson() -> None:
    values = np.array([1.0] * 30 + [0.0] * 34)
    assert mean_interval(values, np.arange(64)) == wilson(30 / 64, 64)


def test_the_interval_of_blocks_by_hand() -> None:
    """Four blocks of two images, of which 1, 1, 1 and 0 are right: 3/8."""
    right, block = np.array([1.0, 0, 1, 0, 1, 0, 0, 0]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found = mean_interval(right, block)
    # Right images of a block minus their mean, 3/4: C/(C-1) times the sum of squares, over N^2.
    clustered = 4 / 3 * (3 * 0.25**2 + 0.75**2) / 8**2
    one_verdict_each = 3 / 8 * 5 / 8 / 4
    # Three blocks hold the rarer verdict, and two blocks are what caution weighs.
    variance = 3 / 5 * clustered + 2 / 5 * one_verdict_each
    student = 3.182446  # of 3 degrees of freedom, 97.5 %
    expected = wilson(3 / 8, 3 / 8 * 5 / 8 / variance, student)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    wrong = mean_interval(1 - right, block)
    assert (wrong.low, wrong.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_caution_never_narrows_what_blocks_show() -> None:
    """Two blocks of two, all right and all wrong: clustered 1/4, above 1/8 of one verdict each."""
    found = mean_interval(np.array([1.0, 1, 0, 0]), np.array([0, 0, 1, 1]))
    expected = wilson(0.5, 0.25 / 0.25, 12.706205)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_interval_of_width_zero_at_the_ends(share: float) -> None:
    independent = mean_interval(np.full(N, share), np.arange(N))
    clustered = mean_interval(np.full(N, share), np.arange(N) // 4)
    width = independent.high - independent.low
    assert 0.005 < width < 0.01
    # Blocks, not images, are what was seen.
    assert clustered.high - clustered.low > 3 * width


@given(st.lists(st.integers(0, 4), min_size=4, max_size=40), st.integers(1, 4))
def test_an_interval_holds_its_value_and_stays_a_share(right: list[int], size: int) -> None:
    values = np.array(right) / 4
    found = mean_interval(values, np.arange(len(values)) // size)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=60))
def test_a_comparison_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    a, b = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    block = np.arange(len(a))
    forth, back = compare(a, b, block), compare(b, a, block)
    assert forth.p == back.p
    assert forth.difference.value == -back.difference.value
    assert forth.difference.low == pytest.approx(-back.difference.high)
    assert forth.difference.low < forth.difference.value < forth.difference.high or abs(
        forth.difference.value
    ) == pytest.approx(1)


def test_the_interval_of_a_difference_by_hand() -> None:
    """One of 40 images is right behind the first only: mean 1/40, residuals .975 and 39 of .025."""
    first, second = np.ones(40), np.ones(40)
    second[7] = 0
    found = compare(first, second, np.arange(40)).difference
    clustered = 40 / 39 * (0.975**2 + 39 * 0.025**2) / 40**2
    half = 2.022691 * math.sqrt(clustered + 2 / 40**2)  # Student, 39; two blocks that disagree
    assert (found.low, found.high) == pytest.approx((1 / 40 - half, 1 / 40 + half), abs=1e-6)


def test_mcnemar_is_the_sign_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_permutation_agrees_with_full_enumeration() -> None:
    sums = np.array([0.5, 1.0, -0.25, 0.75, 1.0, 0.25, 0.5, -0.5])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    exact = float((np.abs(sums @ signs) >= abs(sums.sum()) - 1e-9).mean())
    assert permutation(sums) == pytest.approx(exact, abs=0.02)
    assert permutation(sums) == permutation(sums)
    assert permutation(np.zeros(8)) == 1.0


def test_hoeffdings_bound_stands_in_where_draws_cannot_show_it() -> None:
    # All of 64 blocks agree: the exact p is 2 / 2^64, the bound 2 / e^32.
    assert permutation(np.ones(64)) == pytest.approx(2 * math.exp(-32))
    # It is above the exact p, and above what the draws show where they show anything.
    sums = np.array([1.0] * 12 + [-0.5] * 4)
    signs = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    exact = float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())
    assert exact <= 2 * math.exp(-(sums.sum() ** 2) / (2 * (sums**2).sum()))
    assert permutation(sums) == pytest.approx(exact, abs=0.005)
    # A clear difference stays clear among a thousand comparisons.
    assert max(holm([permutation(np.ones(64))] * 1000)) < 1e-9


def test_discordant_images_are_counted() -> None:
    a, b = np.array([1.0, 1.0, 0.5, 0.0, 0.75]), np.array([1.0, 0.0, 1.0, 0.0, 0.25])
    found = compare(a, b, np.arange(5))
    assert (found.images, found.gains, found.losses) == (5, 2, 1)


def test_which_test_is_used() -> None:
    ones, half = np.ones(8), np.full(8, 0.5)
    assert compare(ones, 1 - ones, np.arange(8)).test == "McNemar"
    assert compare(half, ones, np.arange(8)).test == "permutation"
    assert compare(ones, 1 - ones, np.arange(8) // 2).test == "permutation"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.48, 0.53, "reproduced"),
        (0.30, 0.40, "lower"),
        (0.60, 0.70, "higher"),
        (0.45, 0.60, "undecided"),
        (0.51, 0.549, "reproduced"),
        (0.51, 0.56, "higher"),
    ],
)
def test_verdict_on_a_reported_half(low: float, high: float, expected: str) -> None:
    assert verdict(Figure((low + high) / 2, low, high), 0.5) == expected


def test_other_conditions_are_not_compared() -> None:
    found = verdict(Figure(0.5, 0.4, 0.6), 0.5, ("subset", "budget"))
    assert found == "not comparable: subset, budget"


def test_one_image_is_one_trial() -> None:
    for value in (0.0, 1.0):
        found = mean_interval(np.array([value]), np.array([7]))
        assert found == wilson(value, 1)


@pytest.mark.parametrize(("n", "alpha"), [(100, 1e-3), (1000, 0.05)])
def test_a_class_that_every_copy_got_is_proven_as_far_as_so_many_copies_prove(
    n: int, alpha: float
) -> None:
    """Clopper and Pearson's bound of n hits in n is alpha^(1/n) (Cohen et al. 2019, 3.2.2)."""
    expected = 0.5 * ndtri(alpha ** (1 / n))
    assert certified_radius(n, n, alpha, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_many_at_once_are_what_each_is_alone(size: int) -> None:
    random = np.random.default_rng(5)
    block = random.permutation(np.arange(40) // size)
    verdicts = [random.integers(0, 2, 40).astype(float) for _ in range(4)]
    shares = [random.integers(0, 5, 40) / 4 for _ in range(4)]
    rows = [*verdicts, *shares, np.zeros(40), np.ones(40)]
    assert mean_figures(rows, block) == [mean_interval(row, block) for row in rows]
    pairs = [(a, b) for a in rows for b in rows] * 2  # more than are drawn together
    found = compare_all(pairs, block)
    assert found == [compare(a, b, block) for a, b in pairs]
    assert [each.difference for each in found] == [difference(a, b, block) for a, b in pairs]
    assert {each.test for each in found} == (
        {"McNemar", "permutation"}
        if size == 1
        else {"permutation" if size == 3 else "one block: no test"}
    )
    assert (mean_figures([], block), compare_all([], block)) == ([], [])
