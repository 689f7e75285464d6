"""An edited record is noticed by every reader, whatever was edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.archive import pack
from bench.cli.group import cli
from bench.errors import BenchError
from bench.merge import merge
from bench.record import Record
from bench.request import Plan
from bench.seal import CHECKSUM, BrokenError
from tests.factories import cell, fill, plan, planned, records, rewrite, verdicts

ITEM = cell()
(WRITTEN,) = records(
    ITEM, verdicts([0.5] * 32, draws=2), radius=[0.25] * 32, trace={"first_loss": [0.5] * 32}
)
TEXT, PLAN = WRITTEN.to_json(), plan([planned(ITEM)]).to_json()


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside, containers too."""
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in inside:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def edits(text: str) -> st.SearchStrategy[str]:
    """`text` with one value inside changed, taken away or added."""
    numbers = st.integers(-2, 9) | st.floats(allow_nan=False)
    values: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | numbers | st.text(max_size=3) | st.just([]) | st.just({})
    )

    def edit(path: tuple[Any, ...], how: str, value: Any) -> str:
        data = json.loads(text)
        inside = data
        for key in path[:-1]:
            inside = inside[key]
        old = inside[path[-1]]
        if how == "remove":
            del inside[path[-1]]
        elif how == "flip" and isinstance(old, str) and old:
            inside[path[-1]] = old.translate({48: "1", 49: "0"}) if set(old) <= {*"01"} else old[1:]
        elif how == "add" and isinstance(inside, dict):
            inside["more"] = value
        else:
            inside[path[-1]] = value
        return json.dumps(data)

    ways = st.sampled_from(["set", "remove", "flip", "add"])
    return st.builds(edit, st.sampled_from(places(json.loads(text))), ways, values)


@given(edits(TEXT))
def test_any_single_edit_of_a_record_is_refused_by_name(text: str) -> None:
    if json.dumps(json.loads(text)) == json.dumps(json.loads(TEXT)):
        return
    with pytest.raises(BenchError, match=r"^here: "):
        Record.from_json(text, "here")


@given(edits(PLAN))
def test_any_single_edit_of_a_plan_is_refused_by_name(text: str) -> None:
    if json.dumps(json.loads(text)) == json.dumps(json.loads(PLAN)):
        return
    with pytest.raises(BenchError, match=r"^here: "):
        Plan.from_json(text, "here")


def test_the_doctor_names_every_file_that_is_not_what_was_written(tmp_path: Path) -> None:
    store = fill(tmp_path)
    asked = ["doctor", "--results", str(tmp_path)]
    well = CliRunner().invoke(cli, asked)
    assert (cli.main(asked, standalone_mode=False), well.output) == (0, f"{tmp_path}: all well\n")
    edited, cut, bare, pointed, *_ = store.paths("patches")
    data = json.loads(edited.read_text())
    edited.write_text(json.dumps({**data, "correct": ["1" * 32 for _ in data["correct"]]}))
    cut.write_text(cut.read_text()[:99])
    data = json.loads(bare.read_text())
    del data[CHECKSUM]
    bare.write_text(json.dumps(data))
    rewrite(pointed, lambda data: data.update(points="ab" * 32))
    record = store.record(pointed)
    points = store.points(record.cell, record.shard)
    points.parent.mkdir(parents=True)
    points.write_bytes(b"others")
    part = edited.with_name(".000.json.abcd.part")
    part.write_text("")
    assert f"bench verify {tmp_path}/patches/points" in CliRunner().invoke(cli, asked).output
    ill = CliRunner().invoke(cli, [*asked, "--json"])
    assert cli.main(asked, standalone_mode=False) == 1
    said = (
        "edited since",
        "not a whole record",
        "without a checksum",
        "not the points",
        "left over",
    )
    found = json.loads(ill.output)["problems"]
    for path, words in zip((edited, cut, bare, points, part), said, strict=True):
        assert any(text.startswith(f"{path}: {words}") for text in found), (path, found)
    assert len(found) == len(said)


def test_how_it_is_laid_out_is_no_edit() -> None:
    assert Record.from_json(json.dumps(json.loads(TEXT), indent=2, sort_keys=True), "") == WRITTEN


def test_what_has_no_checksum_is_refused_and_can_be_sealed_by_a_merge(tmp_path: Path) -> None:
    whole = fill(tmp_path / "whole").root
    old = tmp_path / "old"
    for path in whole.rglob("*.json"):
        data = json.loads(path.read_text())
        del data[CHECKSUM]
        copy = old / path.relative_to(whole)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(data))
    with pytest.raises(BrokenError, match=r"without a checksum.*bench merge --unsealed DIR"):
        merge([old], tmp_path / "into")
    merge([old], tmp_path / "into", unsealed=True)
    for path in whole.rglob("*.json"):
        assert (tmp_path / "into" / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_verdicts_that_were_edited_lift_no_board(tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = next(tmp_path.glob("patches/records/adp@natural/bpda/*/001.json"))
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "correct": ["1" * 32 for _ in data["correct"]]}))
    shown = CliRunner().invoke(cli, ["table", "--results", str(tmp_path), "--dataset", "patches"])
    assert shown.exit_code == 0
    assert f"left out: {path}: edited since it was written" in shown.stderr
    assert "incomplete: 1 of 2 shards" in shown.stdout
    with pytest.raises(BenchError, match=r"001\.json: edited .*; nothing was packed"):
        pack(store, "patches", tmp_path / "packed.jsonl.xz")
