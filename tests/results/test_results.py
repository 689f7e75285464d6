from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.facts import About, Facts
from bench.results.checkup import complaints
from bench.results.store import EXTRAS, Cell, Plan, Planned, Record, Skip, Store

CELL = Cell("digits", "512", "none@natural", "clean", "none", 0, "judge=1")
PLANNED = Planned(CELL, "none@natural", "clean")
RECORD = Record(
    cell=CELL,
    shard=0,
    asked={"defense": "none@natural"},
    resolved={"attack": {"clean": {}}},
    software={"torch": "2"},
    weights={"natural": "ab"},
    index=(3, 1),
    label=(0, 1),
    block=(3, 1),
    variants=(),
    draws=2,
    correct=("10", "11"),
    protocol="",
    distance=(0.0, 0.0),
    queries=(),
    calls={"classifier": {"judge": (4, 0)}},
    trace={},
    timing={"seconds": 1.0},
)


def test_a_record_reads_back_as_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(PLANNED, RECORD)
    assert store.read(PLANNED, 0) == RECORD
    assert list(store.records("digits")) == [RECORD]
    assert store.read(PLANNED, 1) is None
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


def test_what_came_after_the_format_is_written_only_where_there_is_something() -> None:
    plain = json.loads(RECORD.to_json())
    later = ("certificate", "gradient", *EXTRAS, "code", "resubmit")
    assert list(plain) == [*(f.name for f in fields(Record) if f.name not in later), "checksum"]
    gone = replace(RECORD, gradient="bpda+exact")
    assert json.loads(gone.to_json())["gradient"] == "bpda+exact"
    assert Record.from_json(gone.to_json(), "") == gone
    stored = replace(RECORD, points="ab" * 32, rounded=("00", "11"))
    assert Record.from_json(stored.to_json(), "") == stored
    for extra in ({"rounded": ("00",)}, {"rounded": ("0x", "11")}, {"points": 3}):
        with pytest.raises(BenchError, match="not a whole record"):
            Record.from_json(json.dumps({**json.loads(stored.to_json()), **extra}), "here")
    proven = {"label": (1, -1), "copies": (99, 51), "radius": (0.25, 0.0)}
    record = replace(RECORD, certificate=proven)
    assert Record.from_json(record.to_json(), "") == record
    for damaged in ({**proven, "radius": (0.25,)}, {"label": (1, -1)}):
        with pytest.raises(BenchError, match="not a whole record"):
            Record.from_json(replace(RECORD, certificate=damaged).to_json(), "here")
    tried = {"attacked": (3, 60), "untouched": (60, 0), "steps": (6,), "tries": (10,)}
    again = replace(RECORD, resubmit=tried)
    assert Record.from_json(again.to_json(), "") == again
    for wrong in (
        {"clean": (61, 0)},
        {"clean": (1,)},
        {"tries": (0,)},
        {"steps": ()},
        {"more": ()},
    ):
        with pytest.raises(BenchError, match="not a whole record"):
            Record.from_json(replace(RECORD, resubmit={**tried, **wrong}).to_json(), "here")


def test_a_cell_in_two_folders_is_read_once_and_a_contradiction_is_named(tmp_path: Path) -> None:
    """Two machines that asked for one cell in two ways, copied into one folder."""
    later, other = replace(RECORD, shard=1), replace(RECORD, correct=("00", "11"))
    named = replace(PLANNED, defense="zzz@natural")
    Store(tmp_path).write(PLANNED, RECORD)
    first = Store(tmp_path).path(PLANNED, 0)
    second = Path(str(first).replace("none@natural", "zzz@natural"))
    second.parent.mkdir(parents=True)
    assert Store(tmp_path).read(named, 0) == RECORD
    (second.parent / "001.json").write_text(later.to_json())
    second.write_text(RECORD.to_json())
    store = Store(tmp_path)
    assert (store.read(PLANNED, 0), store.read(PLANNED, 1)) == (RECORD, later)
    assert list(store.records("digits")) == [RECORD, later]
    assert not store.left_out
    assert not list(complaints(tmp_path))
    second.write_text(other.to_json())
    assert list(store.records("digits")) == [RECORD, later]
    (told,) = complaints(tmp_path)
    assert told.startswith(f"{second}: differs in correct from {first}")


def test_a_retired_record_is_kept_and_never_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.retire(PLANNED, 0)
    store.write(PLANNED, RECORD)
    store.retire(PLANNED, 0)
    assert store.read(PLANNED, 0) is None
    assert not list(store.records("digits"))
    (aside,) = tmp_path.rglob("000.json.stale")
    assert Record.from_json(aside.read_text(), "") == RECORD


def test_plans_read_back_and_the_same_plan_is_one_file(tmp_path: Path) -> None:
    plan = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,), (Skip("a", "b", "why"),))
    store = Store(tmp_path)
    store.write_plan(plan)
    store.write_plan(plan)
    assert store.plans("digits") == [plan]
    assert plan.shards == 2


def test_a_file_that_was_not_there_is_part_of_a_plan_and_not_of_its_name(tmp_path: Path) -> None:
    skip = Skip("a", "b", "no file")
    plan = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,), (skip,))
    told = replace(plan, skips=(replace(skip, absent=True),))
    assert (told.name, "absent" in plan.to_json()) == (plan.name, False)
    store = Store(tmp_path)
    store.write_plan(replace(told, attacks={"bpda": Facts("all", "bpda")}))
    (read,) = store.plans("digits")
    assert read.skips == told.skips


def test_what_attacks_say_of_themselves_is_part_of_a_plan_and_not_of_its_name(
    tmp_path: Path,
) -> None:
    plan = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,))
    told = replace(plan, attacks={"bpda": Facts("all", "bpda")}, group="strict")
    assert plan.name == told.name != replace(plan, images=32).name
    assert not {"attacks", "group"} & set(json.loads(plan.to_json()))
    assert Plan.from_json(told.to_json(), "") == told
    for more in (
        *({"attacks": 1}, {"attacks": {"bpda": 1}}, {"attacks": {"bpda": {"knows": "al"}}}),
        *({"attacks": {"bpda": {"noise": 1}}}, {"group": ["strict"]}, {"attacks": ["bpda"]}),
    ):
        with pytest.raises(BenchError, match="here: not a plan"):
            Plan.from_json(json.dumps({**json.loads(told.to_json()), **more}), "here")


def test_plug_ins_in_words_are_part_of_a_plan_and_not_of_its_name(tmp_path: Path) -> None:
    plan = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,))
    words = About("Steps along a score.", "Yoon et al. 2021", "https://arxiv.org/abs/2106.06041")
    told = replace(plan, about={"defense": {"adp": words, "none": About("Nothing.")}})
    assert plan.name == told.name
    assert "about" not in json.loads(plan.to_json())
    assert Plan.from_json(told.to_json(), "") == told
    damaged: tuple[Any, ...] = (
        *(1, {"defense": 1}, {"defense": {"adp": 1}}, {"defense": {"adp": []}}),
        *({"defense": {"adp": ["a\nb"]}}, {"defense": {"adp": [1, "", ""]}}),
        {"defense": {"adp": ["", "Somebody 2021", "javascript:alert(1)"]}},
        {"defense": {"adp": ["", "Somebody 2021", 'https://a.org/"onclick="']}},
    )
    for more in damaged:
        with pytest.raises(BenchError, match="here: not a plan"):
            Plan.from_json(json.dumps({**json.loads(told.to_json()), "about": more}), "here")


def test_an_older_plan_takes_no_words_away(tmp_path: Path) -> None:
    older = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,))
    older = replace(older, attacks={"clean": Facts("little")})
    newer = replace(older, about={"defense": {"none": About("Nothing.")}})
    latest = replace(newer, about={"defense": {"none": About("The bare classifier.")}})
    store = Store(tmp_path)
    for plan, kept in ((older, older), (newer, newer), (older, newer), (latest, latest)):
        store.write_plan(plan)
        assert store.plans("digits") == [kept]


def test_a_plan_in_the_folder_of_another_data_set_is_refused(tmp_path: Path) -> None:
    plan = Plan("digits", "512", "linf:0.125", "quick", 64, (PLANNED,))
    Store(tmp_path).write_plan(plan)
    (tmp_path / "digits").rename(tmp_path / "patches")
    with pytest.raises(BenchError, match="a plan of data set 'digits'"):
        Store(tmp_path).plans("patches")


def test_a_cell_has_one_folder_whatever_it_was_called(tmp_path: Path) -> None:
    Store(tmp_path).write(PLANNED, RECORD)
    renamed = replace(PLANNED, defense="none", attack="clean-again")
    for store in (Store(tmp_path), Store(tmp_path / "empty")):
        found = store.read(renamed, 0)
        assert (found == RECORD) is (store.root == tmp_path)
    Store(tmp_path).write(renamed, RECORD)
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("field", ["dataset", "defense", "attack", "threat", "versions"])
def test_every_part_of_the_identity_changes_the_digest(field: str) -> None:
    assert Cell(**{**asdict(CELL), field: "other"}).digest != CELL.digest
    assert replace(CELL, seed=1).digest != CELL.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "<html></html>",
        lambda text: json.dumps({**json.loads(text), "correct": ["1"]}),
        lambda text: json.dumps({**json.loads(text), "correct": ["1x", "11"]}),
        lambda text: json.dumps({**json.loads(text), "format": 99}),
        lambda text: json.dumps({**json.loads(text), "draws": 3}),
        lambda text: json.dumps([1]),
        lambda text: json.dumps({**json.loads(text), "timing": 3}),
    ],
)
def test_damaged_records_are_named_and_refused(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    store = Store(tmp_path)
    store.write(PLANNED, RECORD)
    path = store.path(PLANNED, 0)
    path.write_text(damage(path.read_text()))
    with pytest.raises(BenchError, match=path.name):
        store.read(PLANNED, 0)


def test_a_foreign_record_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path(PLANNED, 0)
    store.write(PLANNED, RECORD)
    path.write_text(replace(RECORD, cell=replace(CELL, seed=5)).to_json())
    with pytest.raises(BenchError, match="another cell"):
        store.read(PLANNED, 0)


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        Store(blocker).write(PLANNED, RECORD)
