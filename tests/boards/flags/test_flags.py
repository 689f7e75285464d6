"""Alarms ring where columns contradict each other, and not on networks that hide nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bench.boards.flags import flags
from bench.boards.spec import BoardSpec
from bench.boards.tidy import tidy
from bench.facts import Facts, Knows
from bench.results.store import SHARD, Store
from tests.boards.flags.rows import MASKED, RISES, N, alarms, board_of, flags_of
from tests.factories import BORDER, one_board, rewrite


def test_plain_network_has_no_alarm(tmp_path: Path) -> None:
    columns = {"clean": 0.95, "classifier-pgd": (0.0, 1, RISES), "square": 0.05, "autoattack": 0.0}
    assert flags_of(tmp_path, "none@natural", columns) == []


def test_adversarially_trained_network_has_no_alarm(tmp_path: Path) -> None:
    # Transfer and black-box attacks do less than the gradient: as it should be.
    columns = {
        "clean": 0.85,
        "classifier-pgd": (0.5, 1, RISES),
        "square": 0.55,
        "autoattack": 0.47,
        "transfer:source=same": 0.8,
    }
    assert flags_of(tmp_path, "none@madry", columns) == []


@pytest.mark.parametrize("threat", ["linf:0", "l2:0"])
def test_a_ball_of_radius_zero_has_no_alarm(tmp_path: Path, threat: str) -> None:
    still = {"first_loss": [0.5] * N, "last_loss": [0.5] * N, "zero_gradients": [0.0] * N}
    columns = {"clean": 0.85, "noise:draws=4": 0.85, "apgd": (0.85, 1, still)}
    (board,) = board_of(tmp_path, "none@madry", columns, threat, distance=[0.0] * N)
    assert flags(board) == []


def test_no_point_is_inside_of_a_ball_that_ends_outside_of_the_pixels(tmp_path: Path) -> None:
    # One image of 128 stays right; from a grey of .2 no point is farther away than .8.
    columns = {"clean": 0.95, "classifier-pgd": (1 / N, 1, RISES)}
    (board,) = board_of(tmp_path, "none@natural", columns, "linf:255/255", distance=[0.8] * N)
    assert flags(board) == []


def test_a_few_images_that_stay_right_are_no_alarm(tmp_path: Path) -> None:
    # 6 of 128: an attack that breaks all others is not doubtful.
    still = {"first_loss": [0.5] * N, "last_loss": [0.5] * N, "zero_gradients": [0.0] * N}
    columns = {"clean": 0.95, "classifier-pgd": (6 / N, 1, still)}
    assert flags_of(tmp_path, "none@natural", columns, distance=[0.5 * BORDER] * N) == []


def test_zero_gradients_are_an_alarm(tmp_path: Path) -> None:
    # Rounding, and logits times 10,000: the gradient vanishes on images that stay right.
    trace = {"first_loss": [0.0] * N, "last_loss": [0.01] * N, "zero_gradients": [1.0] * N}
    found = flags_of(tmp_path, "none@natural", {"clean": 0.95, "classifier-pgd": (0.9, 1, trace)})
    assert alarms(found) == {("classifier-pgd", "the")}
    assert "exactly zero" in found[0].text


def test_zero_gradients_on_broken_images_are_no_alarm(tmp_path: Path) -> None:
    zero = [0.0] * 64 + [1.0] * 64
    trace = {**RISES, "zero_gradients": zero}
    columns = {"clean": 0.95, "classifier-pgd": (0.5, 1, trace)}
    assert flags_of(tmp_path, "none@natural", columns) == []


def test_one_step_attack_is_an_alarm(tmp_path: Path) -> None:
    trace = {"first_loss": [0.5] * N, "last_loss": [0.5] * N, "zero_gradients": [0.0] * N}
    found = flags_of(tmp_path, "none@natural", {"clean": 0.95, "classifier-pgd": (0.4, 1, trace)})
    assert [flag.text.startswith("the loss does not rise") for flag in found] == [True]


def test_black_box_and_transfer_beating_the_gradient_are_alarms(tmp_path: Path) -> None:
    columns = {
        "clean": 0.9,
        "classifier-pgd": 0.85,
        "bpda": 0.8,
        "square": 0.2,
        "transfer:source=other": 0.3,
    }
    found = flags_of(tmp_path, "jpeg@natural", columns)
    assert {flag.attack for flag in found} == {"square", "transfer:source=other"}
    assert all("knows less than bpda" in flag.text for flag in found)


"""No attack of these finds much: the adaptive one follows a gradient that says little."""


@pytest.mark.parametrize("knows", ["little", "blind", ""])
def test_an_attack_from_outside_that_knows_less_and_does_more_is_an_alarm(
    tmp_path: Path, knows: Knows
) -> None:
    told = {"outside": Facts(knows=knows)}
    found = flags_of(tmp_path, "jpeg@natural", {**MASKED, "outside": 0.2}, told=told)
    (said,) = [flag for flag in found if flag.kind == "alarm"]
    assert said.attack == "outside"
    assert "mislead them" in said.text
    assert ("does not say what it knows" in said.text) == (not knows)
    assert said.text.startswith("knows less than bpda" if knows else "leaves 60.2 points less")


@pytest.mark.parametrize("knows", ["little", "blind", ""])
def test_an_attack_from_outside_silences_no_alarm(tmp_path: Path, knows: Knows) -> None:
    # As strong as what knows less: were it taken for one that knows all, nothing would contradict.
    told = {"outside": Facts(knows=knows)}
    columns = {"clean": 0.9, "classifier-pgd": 0.2, "bpda": 0.8, "square": 0.3, "outside": 0.2}
    found = flags_of(tmp_path, "jpeg@natural", columns, told=told)
    assert {a for a, word in alarms(found) if word in ("knows", "leaves")} == {
        *("classifier-pgd", "square", "outside")
    }
    # Where it is the only one that might know anything, it is held against those that do not.
    alone = {"clean": 0.9, "square": 0.3, "outside": 0.8}
    found = flags_of(tmp_path / "alone", "jpeg@natural", alone, told=told)
    assert ("square", "knows") in alarms(found) or knows == "little"


@pytest.mark.parametrize("knows", ["all", "mixed"])
def test_an_attack_from_outside_that_knows_enough_is_no_contradiction(
    tmp_path: Path, knows: Knows
) -> None:
    told = {"outside": Facts(knows=knows)}
    found = flags_of(tmp_path, "jpeg@natural", {**MASKED, "outside": 0.2}, told=told)
    assert not alarms(found)


def test_an_attack_from_outside_says_which_gradient_it_follows(tmp_path: Path) -> None:
    columns = {"clean": 0.9, "one": 0.8, "other": 0.2}
    told = {"one": Facts("all", "bpda"), "other": Facts("all", "exact")}
    (said,) = flags_of(tmp_path, "adp@natural", columns, told=told)
    assert (said.kind, said.attack) == ("note", "one")
    assert said.text.startswith("BPDA is weaker than the exact gradient here: other leaves")


def test_a_tie_within_the_interval_is_no_alarm(tmp_path: Path) -> None:
    assert flags_of(tmp_path, "jpeg@natural", {"clean": 0.9, "bpda": 0.5, "square": 0.5}) == []


def test_more_accurate_under_attack_than_clean_is_an_alarm(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "scoreopt@natural", {"clean": 0.7, "bpda": 0.95})
    assert alarms(found) == {("bpda", "accuracy")}


def test_random_inference_is_a_note(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "adp@natural", {"clean": (0.8, 4, None), "bpda": (0.5, 4, None)})
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "")]
    assert found[0].text.startswith("random inference")
    # Images that stay right in every draw say nothing against it.
    steady = flags_of(tmp_path / "s", "adp@natural", {"clean": 1.0, "bpda": (0.5, 4, None)})
    assert [flag.text[:16] for flag in steady] == ["random inference"]


@pytest.mark.parametrize(("coarse", "says"), [(0.5, "does not survive 8 bits"), (0.1, "lower")])
def test_verdicts_that_rounding_to_8_bits_changes_are_a_note(
    tmp_path: Path, coarse: float, says: str
) -> None:
    columns = {"clean": 0.9, "bpda": 0.3}
    assert flags_of(tmp_path, "jpeg@natural", columns) == []
    for share, expected in ((0.32, 0), (coarse, 1)):
        bits = "".join("1" if i < share * N else "0" for i in range(N))
        for path in tmp_path.rglob("bpda/*/*.json"):
            start = SHARD * int(path.stem)
            rewrite(path, partial(dict.update, rounded=[bits[start : start + SHARD]]))
        board = one_board(Store(tmp_path))
        found = flags(board)
        assert len(found) == expected
    assert (found[0].kind, found[0].attack) == ("note", "bpda")
    assert says in found[0].text
    (row,) = (r for r in tidy([board], BoardSpec(""), "patches") if r["metric"].startswith("round"))
    assert (row["attack"], row["metric"]) == ("bpda", "rounded to 8 bits")
    assert float(row["measured"]) == pytest.approx(100 * bits.count("1") / N, abs=0.05)


def test_submitted_points_are_no_contradiction(tmp_path: Path) -> None:
    columns = {"clean": 0.9, "bpda": 0.8, "submitted:file=mine.npz": 0.2}
    found = flags_of(tmp_path, "jpeg@natural", columns)
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "submitted:file=mine.npz")]


def test_an_incomplete_column_is_a_note(tmp_path: Path) -> None:
    flags_of(tmp_path, "adp@natural", {"clean": 0.8, "bpda": 0.5})
    next(tmp_path.rglob("bpda/*/001.json")).unlink()
    board = one_board(Store(tmp_path))
    assert [flag.text for flag in flags(board)] == ["not complete: bpda"]


def test_gradients_that_are_not_a_number_are_an_alarm(tmp_path: Path) -> None:
    trace = {**RISES, "nan_gradients": [0.2] * 16 + [0.0] * 112}
    found = flags_of(tmp_path, "none@natural", {"clean": 0.95, "classifier-pgd": (0.9, 1, trace)})
    assert [flag.attack for flag in found if "not a number on 12.5 %" in flag.text] == [
        "classifier-pgd"
    ]


def test_nan_is_read_where_only_some_shards_have_it(tmp_path: Path) -> None:
    trace = {**RISES, "nan_gradients": [0.2] * N}
    flags_of(tmp_path, "none@natural", {"clean": 0.95, "classifier-pgd": (0.9, 1, trace)})
    for path in tmp_path.rglob("classifier-pgd/*/*.json"):
        if path.name != "000.json":
            rewrite(path, lambda data: data["trace"].pop("nan_gradients"))
    board = one_board(Store(tmp_path))
    assert ["not a number on 25.0 %" in flag.text for flag in flags(board)] == [True]
