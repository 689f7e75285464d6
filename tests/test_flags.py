"""Alarms ring where an attack is doubtful, and not on plain or adversarially trained networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis import BoardSpec, tidy
from bench.boards import boards
from bench.flags import Flag, flags
from bench.results import SHARD, Store
from tests.factories import cell, plan, planned, records, verdicts

N = 128
RISES = {"first_loss": [0.5] * N, "last_loss": [3.0] * N, "zero_gradients": [0.0] * N}


def flags_of(tmp_path: Path, defense: str, columns: dict[str, Any]) -> list[Flag]:
    """Flags of one row; a column is a share, or (share, draws, trace)."""
    store, asked = Store(tmp_path), []
    for number, (attack, given) in enumerate(columns.items()):
        share, draws, trace = given if isinstance(given, tuple) else (given, 1, None)
        item = planned(cell(defense, attack))
        asked.append(item)
        right = np.arange(N) < share * N
        bits = (
            verdicts([share] * N, draws, seed=number)
            if draws > 1
            else np.asarray(right).reshape(1, 1, N)
        )
        for record in records(item.cell, bits, trace=trace):
            store.write(item, record)
    store.write_plan(plan(asked, images=N))
    (board,) = boards(store, "patches")
    return flags(board)


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


def test_a_tie_within_the_interval_is_no_alarm(tmp_path: Path) -> None:
    assert flags_of(tmp_path, "jpeg@natural", {"clean": 0.9, "bpda": 0.5, "square": 0.5}) == []


def test_more_accurate_under_attack_than_clean_is_an_alarm(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "scoreopt@natural", {"clean": 0.7, "bpda": 0.95})
    assert alarms(found) == {("bpda", "accuracy")}


def test_random_inference_is_a_note(tmp_path: Path) -> None:
    found = flags_of(tmp_path, "adp@natural", {"clean": (0.8, 4, None), "bpda": (0.5, 4, None)})
    assert [(flag.kind, flag.attack) for flag in found] == [("note", "")]
    assert found[0].text.startswith("random inference")


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
            rounded = {"rounded": [bits[start : start + SHARD]]}
            path.write_text(json.dumps({**json.loads(path.read_text()), **rounded}))
        (board,) = boards(Store(tmp_path), "patches")
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
    (board,) = boards(Store(tmp_path), "patches")
    assert [flag.text for flag in flags(board)] == ["not complete: bpda"]
