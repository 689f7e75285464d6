"""Metrics against hand counts and against what must hold for any verdicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bench.boards.metrics import (
    RADII,
    Gap,
    accuracy,
    assemble,
    by_variant,
    cost,
    vote,
    worst_case,
    worst_of,
)
from tests.factories import cell, measured, records, verdicts

BITS = arrays(np.bool_, st.tuples(st.just(1), st.sampled_from([1, 2, 3, 4, 10]), st.just(32)))


def stack(*rows: str) -> NDArray[np.bool_]:
    """Draws as texts of 0/1, repeated to a shard of 32 images: [1,M,32]."""
    return np.array([[c == "1" for c in row * (32 // len(row))] for row in rows])[None]


def test_radii_of_curves_rise() -> None:
    assert list(RADII) == sorted(set(RADII))
    assert {0.25, 0.5, 1.0, 1.5, 2.0} <= set(RADII)  # Cohen et al. 2019, Table 1


def test_an_image_counts_once() -> None:
    first, second = records(cell(), verdicts([0.5] * 64))
    found = assemble(cell(), 64, [first, replace(second, index=first.index)])
    assert found == Gap("an image occurs in two shards; run it again")


def test_means_votes_and_worst_of_k_by_hand() -> None:
    found = measured(stack("1101", "1100", "1010", "1000"))
    assert accuracy(found)[:4] == pytest.approx([1, 0.5, 0.25, 0.25])
    # Half of the draws is not more than half.
    assert vote(found)[:4] == pytest.approx([1, 0, 0, 0])
    assert worst_of(found, 2)[:4] == pytest.approx([1, 1 / 6, 0, 0])
    assert worst_of(found, 1) == pytest.approx(accuracy(found))


@given(BITS, st.integers(1, 4))
def test_worst_of_k_is_the_mean_over_all_choices_of_k_draws(
    bits: NDArray[np.bool_], k: int
) -> None:
    draws = bits.shape[1]
    k = min(k, draws)
    chosen = [bits[0, list(pick)].all(axis=0) for pick in combinations(range(draws), k)]
    assert worst_of(measured(bits), k) == pytest.approx(np.mean(chosen, axis=0))


def test_the_worst_attack_is_chosen_on_the_first_half_and_scored_on_the_second() -> None:
    # Image 0: `a` looks worse first and is better later; image 1: `b` is worse throughout.
    a = measured(stack("01", "01", "10", "10"))
    b = measured(stack("10", "10", "10", "10"))
    values, chosen = worst_case([a, b])
    assert chosen[:2].tolist() == [0, 1]
    assert values[:2].tolist() == [1.0, 0.0]


def test_a_bad_choice_gives_way_to_the_strongest_single_attack() -> None:
    # The first half prefers `weak` on image 0, which then holds; `strong` leaves a quarter.
    weak = measured(stack("01", "01", "11", "11"))
    strong = measured(stack("10", "10", "00", "00"))
    values, chosen = worst_case([weak, strong])
    assert chosen[:2].tolist() == [1, 1]
    assert values[:2].tolist() == [0.5, 0.0]


def test_choosing_the_worst_of_equal_attacks_adds_no_bias() -> None:
    # Ten attacks that are all the same coin: a minimum over means would fall far below one half.
    columns = [measured(verdicts([0.5] * 512, draws=10, seed=s)) for s in range(10)]
    values, _ = worst_case(columns)
    minimum = np.min([accuracy(c) for c in columns], axis=0)
    assert values.mean() == pytest.approx(0.5, abs=0.04)
    assert minimum.mean() < 0.35


def test_the_strongest_of_equal_attacks_is_chosen_and_scored_on_the_same_draws() -> None:
    # 12 attacks that leave the same chance p(i) of each image: every one of them reaches mean p.
    random, biases = np.random.default_rng(0), []
    for _ in range(20):
        chance = random.random(128)
        columns = [measured(random.random((1, 4, 128)) < chance) for _ in range(12)]
        biases.append(worst_case(columns)[0].mean() - chance.mean())
    assert -0.045 < np.mean(biases) < -0.015


@given(st.lists(arrays(np.bool_, (1, 1, 32)), min_size=1, max_size=5))
def test_with_one_draw_the_worst_case_is_the_minimum(columns: list[NDArray[np.bool_]]) -> None:
    values, _ = worst_case([measured(bits) for bits in columns])
    assert np.array_equal(values, np.min([bits[0, 0] for bits in columns], axis=0))


@settings(max_examples=50)
@given(st.lists(arrays(np.bool_, (1, 4, 32)), min_size=1, max_size=5))
def test_the_worst_case_is_never_above_the_lowest_column(columns: list[NDArray[np.bool_]]) -> None:
    values, chosen = worst_case([measured(bits) for bits in columns])
    seconds = np.array([bits[0, 2:].mean(axis=0) for bits in columns])
    whole = np.array([bits[0].mean(axis=0) for bits in columns])
    lowest = whole.mean(axis=1).argmin()
    assert values.mean() <= whole[lowest].mean()
    one_by_one = np.array_equal(values, seconds[chosen, np.arange(32)])
    assert one_by_one or (np.array_equal(values, whole[lowest]) and set(chosen) == {lowest})


@given(arrays(np.bool_, (1, 1, 32)), arrays(np.bool_, (1, 1, 32)))
def test_another_deterministic_attack_never_raises_the_worst_case(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> None:
    one, _ = worst_case([measured(first)])
    two, _ = worst_case([measured(first), measured(second)])
    assert (two <= one).all()


def test_corruptions_by_kind_and_severity() -> None:
    names = ("fog/1", "fog/5", "snow/1", "snow/5")
    bits = np.stack([np.full((1, 32), value) for value in (True, False, True, True)])
    found = measured(bits, variants=names)
    means = {name: float(values.mean()) for name, values in by_variant(found).items()}
    assert means["fog/5"] == 0
    assert means["fog"] == 0.5
    assert means["severity 1"] == 1
    assert means["severity 5"] == 0.5
    assert float(accuracy(found).mean()) == 0.75


def test_cost_counts_network_calls_per_image() -> None:
    spent = cost([measured(verdicts([0.5] * 64, draws=4), calls=30)])
    assert (spent.forwards, spent.backwards, spent.prediction) == (34, 30, 1)
    assert spent.networks == {"classifier": (34, 30)}
    assert spent.seconds == pytest.approx(1.235 / 32)


def test_seconds_of_two_machines_are_not_mixed() -> None:
    found = measured(verdicts([0.5] * 64))
    here = found.records[0].timing
    for timing in ({"seconds": 1.0, "device": "cuda"}, {**here, "precision": "bf16"}):
        other = replace(found.records[0], timing=timing)
        assert cost([replace(found, records=(other, found.records[1]))]).seconds is None
    same = replace(found.records[0], timing={**here, "precision": "float32"})
    assert cost([replace(found, records=(same, found.records[1]))]).seconds is not None


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_shard_is_a_gap_and_never_a_number(missing: int) -> None:
    made = records(cell(), verdicts([1.0] * 96))
    found = assemble(cell(), 96, made[:missing] + made[missing + 1 :])
    assert found == Gap("incomplete: 2 of 3 shards")


def test_a_short_shard_is_a_gap() -> None:
    made = records(cell(), verdicts([1.0] * 50))
    assert assemble(cell(), 64, made) == Gap("incomplete: 50 of 64 images")


def test_the_last_shard_of_a_whole_subset_may_be_short() -> None:
    made = records(cell(), verdicts([1.0] * 50))
    found = assemble(cell(), 50, made)
    assert not isinstance(found, Gap)
    assert found.images == 50
    assert assemble(cell(), 40, made) == Gap("incomplete: 50 of 40 images")


def test_two_sets_of_weights_are_a_gap() -> None:
    made = records(cell(), verdicts([1.0] * 64))
    made[1] = replace(made[1], weights={"natural": "b" * 64})
    found = assemble(cell(), 64, made)
    assert isinstance(found, Gap)
    assert "weights" in found.reason


def test_only_the_shards_that_were_asked_for_count() -> None:
    bits = verdicts([1.0] * 32 + [0.0] * 32)
    found = measured(bits)
    part = assemble(cell(), 32, found.records)
    assert not isinstance(part, Gap)
    assert accuracy(part).tolist() == [1.0] * 32


def test_a_network_that_the_judge_never_called_costs_no_prediction() -> None:
    found = measured(verdicts([0.5] * 32))
    (record,) = found.records
    calls = {**record.calls, "twin": {"attack": (64, 32)}}
    spent = cost([replace(found, records=(replace(record, calls=calls),))])
    assert spent.networks["twin"] == (2.0, 1.0)
    plain = cost([found])
    assert (spent.prediction, spent.followed_back) == (plain.prediction, plain.followed_back)
