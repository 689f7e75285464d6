"""Attacks that were too weak, or of which too little is said, are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.boards.analysis import analyse
from bench.boards.board import Entry
from bench.boards.flags import flags, single
from bench.boards.flags.knowledge import follows
from bench.boards.gather import boards
from bench.facts import Facts
from bench.report.details import reading
from bench.results.store import Plan, Store
from tests.boards.flags.rows import MASKED, RISES, N, alarms, board_of, flags_of
from tests.factories import BORDER, THREAT, measured, one_board, rewrite, verdicts


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
