"""Alarms ring where an attack is doubtful, and not on plain or adversarially trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.boards.analysis import analyse
from bench.boards.board import Board, Entry
from bench.boards.flags import Flag, flags, single
from bench.boards.flags.knowledge import follows
from bench.boards.gather import boards
from bench.boards.spec import BoardSpec
from bench.boards.tidy import tidy
from bench.facts import Facts, Knows
from bench.report.details import reading
from bench.results.store import SHARD, Plan, Store
from tests.factories import (
    BORDER,
    THREAT,
    cell,
    measure,
    measured,
    one_board,
    plan,
    rewrite,
    verdicts,
)

N = 128
RISES = {"first_loss": [0.5] * N, "last_loss": [3.0] * N, "zero_gradients": [0.0] * N}


def flags_of(tmp_path: Path, defense: str, columns: dict[str, Any], **more: Any) -> list[Flag]:
    """Flags of one row; a column is a share, or (share, draws, trace). more: as of `board_of`."""
    (board,) = board_of(tmp_path, defense, columns, **more)
    return flags(board)


def board_of(
    tmp_path: Path,
    defense: str,
    columns: dict[str, Any],
    threat: str = THREAT,
    told: Mapping[str, Facts] | None = None,
    **more: Any,
) -> list[Board]:
    """The boards of a store after one more row was written there.

    told: what attacks say of themselves in place of what the registered ones say. more: of the
    records.
    """
    store, asked = Store(tmp_path), []
    for number, (attack, given) in enumerate(columns.items()):
        share, draws, trace = given if isinstance(given, tuple) else (given, 1, None)
        within = "none" if attack == "clean" else threat
        right = np.arange(N) < share * N
        bits = (
            verdicts([share] * N, draws, seed=number)
            if draws > 1
            else np.asarray(right).reshape(1, 1, N)
        )
        item = measure(
            store,
            cell(defense, attack, threat=within, versions="judge=1"),
            bits,
            trace=trace,
            **more,
        )
        asked.append(item)
    made = plan(asked, images=N, threat=threat)
    store.write_plan(replace(made, attacks={**made.attacks, **(told or {})}))
    return boards(store, "patches")


def alarms(found: list[Flag]) -> set[tuple[str, str]]:
    return {(flag.attack, flag.text.split()[0]) for flag in found if flag.kind == "alarm"}


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


MASKED = {"clean": 0.9, "classifier-pgd": 0.9, "bpda": 0.8, "square": 0.85}
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


@pytest.mark.parametrize(("inside", "rings"), [(0.0, False), (0.4, False), (0.7, True)])
def test_points_inside_of_the_ball_are_an_alarm(tmp_path: Path, inside: float, rings: bool) -> None:
    far = [BORDER / 4 if place < inside * 64 else BORDER for place in range(N)]
    columns = {"clean": 0.95, "bpda": (0.5, 1, RISES)}
    found = flags_of(tmp_path, "jpeg@natural", columns, distance=far)
    assert [flag.attack for flag in found if "does not use its budget" in flag.text] == (
        ["bpda"] if rings else []
    )


def test_points_inside_say_nothing_of_broken_images_or_searches_without_a_gradient(
    tmp_path: Path,
) -> None:
    far = [BORDER] * 64 + [0.001] * 64
    columns = {"clean": 0.95, "bpda": (0.5, 1, RISES), "square": 0.6, "transfer:source=same": 0.9}
    assert flags_of(tmp_path, "jpeg@natural", columns, distance=far) == []


def test_noise_that_is_as_good_as_the_best_attack_is_an_alarm(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "jpeg@natural", {"clean": 0.95, "bpda": 0.95, "noise": 0.95})
    # 128 images, no discordant pair: the interval of the difference is within 5 points.
    assert [(f.attack, "random noise in the ball" in f.text) for f in found] == [("bpda", True)]


def test_noise_from_outside_is_noise_and_an_attack_that_says_nothing_has_to_beat_it(
    tmp_path: Path,
) -> None:
    columns = {"clean": 0.95, "bpda": 0.5, "grain": 0.95, "outside": 0.95}
    told = {"grain": Facts("little", noise=True), "outside": Facts()}
    found = flags_of(tmp_path, "jpeg@natural", columns, told=told)
    assert [(flag.attack, "(grain) is as good" in flag.text) for flag in found] == [
        ("outside", True)
    ]


def test_noise_does_less_or_there_is_nothing_left_to_attack(tmp_path: Path) -> None:
    less = {"clean": 0.95, "bpda": 0.5, "classifier-pgd": 0.9, "noise": 0.9}
    assert flags_of(tmp_path / "less", "jpeg@natural", less) == []
    # Within a ball of half the range, noise breaks what there is to break.
    nothing = {"clean": 0.95, "bpda": 0.0, "noise": 0.0}
    assert flags_of(tmp_path / "nothing", "jpeg@natural", nothing) == []


def test_noise_is_no_attack_that_knows_more(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "jpeg@natural", {"clean": 0.95, "bpda": 0.8, "noise": 0.5})
    assert ("noise", "knows") in alarms(found)


def test_too_few_images_do_not_make_noise_as_good(tmp_path: Path) -> None:
    columns = {"clean": (0.95, 4, None), "bpda": (0.8, 4, None), "noise": (0.82, 4, None)}
    assert not alarms(flags_of(tmp_path, "adp@natural", columns))


def test_more_steps_or_draws_that_still_do_more_are_an_alarm(tmp_path: Path) -> None:
    columns = {
        "clean": 0.95,
        "bpda-eot:steps=10,eot=5": 0.6,
        "bpda-eot:steps=100,eot=5": 0.4,
        "bpda-eot:steps=100,eot=50": 0.2,
        # Another step size is another attack, and so is another name.
        "bpda-eot:steps=10,eot=5,step=0.1": 0.9,
        "mim:steps=200,eot=5": 0.1,
    }
    found = flags_of(tmp_path, "adp@natural", columns)
    said = {flag.attack: flag.text for flag in found if flag.kind == "alarm"}
    assert set(said) == {"bpda-eot:steps=10,eot=5", "bpda-eot:steps=100,eot=5"}
    assert said["bpda-eot:steps=10,eot=5"].endswith("less accuracy: steps=10 is not enough")
    assert said["bpda-eot:steps=100,eot=5"].endswith("less accuracy: eot=5 is not enough")


def test_an_attack_says_which_settings_are_a_budget(tmp_path: Path) -> None:
    columns = {"clean": 0.95, "mine:tries=2": 0.6, "mine:tries=10": 0.3, "mine:tries=many": 0.1}
    found = flags_of(tmp_path / "silent", "adp@natural", columns)
    assert not alarms(found)
    told = dict.fromkeys(("mine:tries=2", "mine:tries=10"), Facts(budget=("tries",)))
    (said,) = flags_of(tmp_path / "told", "adp@natural", columns, told=told)
    assert (said.attack, said.kind) == ("mine:tries=2", "alarm")
    assert "tries=2 is not enough" in said.text


def test_more_steps_that_change_nothing_are_no_alarm(tmp_path: Path) -> None:
    columns = {"clean": 0.95, "bpda:steps=40": 0.5, "bpda:steps=200": 0.49}
    assert flags_of(tmp_path, "jpeg@natural", columns) == []


@pytest.mark.parametrize(("left", "rings"), [(0.3, True), (0.0, False)])
def test_an_unbounded_attack_that_leaves_images_right_is_an_alarm_on_every_board(
    tmp_path: Path, left: float, rings: bool
) -> None:
    board_of(tmp_path, "jpeg@natural", {"clean": 0.9, "bpda": 0.5, "square": 0.6})
    found = board_of(
        tmp_path, "jpeg@natural", {"clean": 0.9, "bpda": left, "square": 0.9}, "linf:0.5"
    )
    assert len(found) == 2
    for board in found:
        said = [flag for flag in flags(board, found) if "linf:0.5" in flag.text]
        assert [flag.attack for flag in said] == (["bpda"] if rings else [])


@pytest.mark.parametrize("left", [0.0, 0.2])
def test_an_unbounded_attack_that_says_nothing_hides_none_and_is_held_against_itself(
    tmp_path: Path, left: float
) -> None:
    columns = {"clean": 0.9, "bpda": 0.3, "outside": left}
    (board,) = board_of(tmp_path, "jpeg@natural", columns, "linf:0.5", told={"outside": Facts()})
    said = {flag.attack for flag in flags(board) if "points that exist" in flag.text}
    assert said == {"bpda", *(["outside"] if left else [])}


def test_a_plan_that_is_older_than_what_attacks_say_has_a_note_and_no_comparison(
    tmp_path: Path,
) -> None:
    columns = {"clean": 0.9, "bpda": 0.8, "square": 0.2, "noise": 0.8}
    (board,) = board_of(tmp_path, "jpeg@natural", columns)
    assert alarms(flags(board))
    (path,) = tmp_path.rglob("plans/*.json")
    new = path.read_text()
    rewrite(path, lambda data: data.pop("attacks"))
    before = path.read_text()
    store = Store(tmp_path)
    (older,) = boards(store, "patches")
    assert not alarms(flags(older))
    (note,) = [text for text in reading(analyse(older)) if text.startswith("Planned before")]
    assert "bpda, square, noise." in note
    # The same request takes its place.
    store.write_plan(Plan.from_json(new, "new"))
    assert [file.read_text() for file in tmp_path.rglob("plans/*.json")] == [new]
    board = one_board(store)
    assert alarms(flags(board))
    assert not any(text.startswith("Planned before") for text in reading(analyse(board)))
    store.write_plan(Plan.from_json(before, "older"))
    assert [file.read_text() for file in tmp_path.rglob("plans/*.json")] == [new]


def test_two_plans_that_say_two_things_of_an_attack_say_nothing(tmp_path: Path) -> None:
    item = {"outside": 0.2}
    board_of(tmp_path, "jpeg@natural", {**MASKED, **item}, told={"outside": Facts("all")})
    (board,) = board_of(tmp_path, "bits@natural", item, told={"outside": Facts("blind")})
    assert all(row.entries["outside"].facts == Facts() for row in board.rows)


def test_a_protocol_that_contradicts_fresh_predictions_is_an_alarm(tmp_path: Path) -> None:
    name = "bpda-eot:protocol=hill"
    agrees = np.arange(N) < 64
    for number, (during, rings) in enumerate([(agrees, False), (np.arange(N) < 32, True)]):
        columns = {"clean": 0.9, name: 0.5}
        found = flags_of(tmp_path / str(number), "jpeg@natural", columns, protocol=during)
        said = [flag.attack for flag in found if "during the attack is -25.0" in flag.text]
        assert said == ([name] if rings else [])
    # A random defense may fail once in 150 runs and stand in the next four.
    random = {name: (0.5, 4, None)}
    found = flags_of(tmp_path / "random", "adp@natural", random, protocol=np.zeros(N, dtype=bool))
    assert not alarms(found)


def test_which_of_bpda_and_the_exact_gradient_is_weaker_is_a_note(tmp_path: Path) -> None:
    weaker = {"clean": 0.9, "bpda": 0.8, "bpda-eot": 0.75, "pgd-exact": 0.3}
    found = flags_of(tmp_path / "bpda", "adp@natural", weaker)
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "bpda-eot")]
    assert found[0].text.startswith("BPDA is weaker than the exact gradient here: pgd-exact leaves")
    masked = {"clean": 0.9, "apgd:gradient=bpda": 0.2, "apgd:gradient=exact": 0.8}
    found = flags_of(tmp_path / "exact", "adp@natural", masked)
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "apgd:gradient=exact")]
    assert found[0].text.startswith("the exact gradient is weaker than BPDA here: apgd:gradient=bp")
    same = {"clean": 0.9, "bpda": 0.5, "pgd-exact": 0.5}
    assert flags_of(tmp_path / "same", "adp@natural", same) == []


@pytest.mark.parametrize(("cosine", "says"), [(0.03, "elsewhere (mean"), (0.9, "much where")])
def test_where_bpdas_gradient_points_is_a_note(tmp_path: Path, cosine: float, says: str) -> None:
    trace = {**RISES, "first_cosine": [cosine] * N, "last_cosine": [0.95] * N}
    found = flags_of(tmp_path, "adp@natural", {"gradient-cosine": (0.2, 1, trace)})
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "gradient-cosine")]
    assert f"BPDA's gradient points {says}" in found[0].text
    assert f"{cosine:.2f} at the images, 0.95 where" in found[0].text


@pytest.mark.parametrize(("turning", "told"), [(0.09, False), (0.11, True)])
def test_too_few_draws_for_the_signs_of_a_step_are_a_note(
    tmp_path: Path, turning: float, told: bool
) -> None:
    """On the images that stay right: the others, which nothing is asked of, turn all signs."""
    turns = [turning] * (N // 2) + [1.0] * (N // 2)
    trace = {**RISES, "turning_signs": turns, "half_cosine": [0.25] * N}
    bits = (np.arange(N) < N // 2).reshape(1, 1, N)
    entry = Entry("adp", "x", THREAT, "x", {0: measured(bits, trace=trace)})
    said = single.few_draws(entry)
    assert bool(said) == told
    if told:
        assert "would still turn 11 % of the signs" in said
        assert "halves of the draws 0.25): raise eot" in said
    columns = {"apgd:protocol=strict": (0.2, 1, {**trace, "turning_signs": [turning] * N})}
    found = [f for f in flags_of(tmp_path, "adp@natural", columns) if "raise eot" in f.text]
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "apgd:protocol=strict")] * told


def test_probabilities_and_saturated_logits_are_an_alarm_on_the_row(tmp_path: Path) -> None:
    shares = {"probabilities": [1.0] * N, "saturated": [1.0] * 64 + [0.0] * 64}
    other = {"saturated": [0.0] * N}
    columns = {"clean": (0.95, 1, shares), "bpda": (0.2, 1, other)}
    found = flags_of(tmp_path, "none@natural", columns)
    assert [(flag.kind, flag.attack) for flag in found] == [("alarm", ""), ("alarm", "")]
    assert found[0].text.startswith("the classifier hands out probabilities")
    assert "50.0 % of the predictions" in found[1].text


@pytest.mark.parametrize(
    ("recorded", "followed"),
    [("bpda", "bpda"), ("exact", "exact"), ("bpda+exact", "exact"), ("", "")],
)
def test_an_attack_that_does_not_say_followed_what_it_recorded(
    recorded: str, followed: str
) -> None:
    found = measured(verdicts([0.5] * 32))
    (record,) = found.records
    found = replace(found, records=(replace(record, gradient=recorded),))
    entry = Entry("adp", "bpda", THREAT, "bpda", {0: found}, facts=Facts())
    assert follows(entry) == followed
    said = replace(entry, facts=Facts(follows="exact"))
    assert follows(said) == "exact"
