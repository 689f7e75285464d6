"""Folders of several machines into one: complete, checked before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.boards.gather import boards
from bench.errors import BenchError
from bench.results.merge import Merged, merge
from bench.results.store import Store
from tests.factories import fill, rewrite


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return fill(tmp_path / "whole").root


@pytest.fixture
def halves(tmp_path: Path) -> list[Path]:
    """Each with every plan, as jobs of an array leave them."""
    return [fill(tmp_path / f"part-{n}", leave_out=[f"00{1 - n}.json"]).root for n in (0, 1)]


def edit(root: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """Change the first record of `root`; its file."""
    path = min(root.rglob("000.json"))
    rewrite(path, change)
    return path


def test_halves_make_the_whole(tmp_path: Path, whole: Path, halves: list[Path]) -> None:
    into = tmp_path / "into"
    records = len(list(whole.rglob("00?.json")))
    assert merge(halves, into) == Merged(copied=records, kept=0, plans=1)
    assert files(into) == files(whole)
    assert merge(halves, into) == Merged(copied=0, kept=records, plans=0)
    assert files(into) == files(whole)


def test_a_merge_that_was_cut_continues(tmp_path: Path, whole: Path, halves: list[Path]) -> None:
    into = tmp_path / "into"
    merge(halves[:1], into)
    done = merge(halves, into)
    assert done.copied == done.kept
    assert files(into) == files(whole)


def test_one_of_the_folders_may_be_the_target(whole: Path, halves: list[Path]) -> None:
    merge(halves, halves[0])
    assert files(halves[0]) == files(whole)


def test_a_part_that_is_missing_is_a_blank(tmp_path: Path, halves: list[Path]) -> None:
    into = tmp_path / "into"
    merge(halves[:1], into)
    (board,) = boards(Store(into), "patches")
    assert board.measured == 0
    gaps = {board.blank(row, column) for row in board.rows for column in row.entries}
    assert any("shard" in gap for gap in gaps)


def test_timing_is_no_difference(tmp_path: Path, whole: Path) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(whole, twice)
    path = edit(twice, lambda data: data.update(timing={"seconds": 9.0}))
    kept = (whole / path.relative_to(twice)).read_bytes()
    into = tmp_path / "into"
    merge([whole, twice], into)
    assert (into / path.relative_to(twice)).read_bytes() == kept


@pytest.mark.parametrize("field", ["weights", "software", "distance", "correct"])
def test_two_different_records_of_one_shard_are_refused_by_name(
    tmp_path: Path, whole: Path, field: str
) -> None:
    def change(data: dict[str, object]) -> None:
        value = data[field]
        if field == "correct":
            assert isinstance(value, list)
            data[field] = ["0" * len(row) for row in value]
        elif isinstance(value, dict):
            data[field] = {**value, "natural": "b" * 64}
        else:
            assert isinstance(value, list)
            data[field] = [0.5, *value[1:]]

    other = tmp_path / "other"
    shutil.copytree(whole, other)
    path = edit(other, change)
    into = tmp_path / "into"
    for sources in ([whole, other], [other, whole]):
        with pytest.raises(BenchError, match=rf"{path.name} .* differ in {field};"):
            merge(sources, into)
        assert not into.exists()
    merge([whole], into)
    before = files(into)
    with pytest.raises(BenchError, match=f"differ in {field}"):
        merge([other], into)
    assert files(into) == before


def test_older_records_lack_what_was_seen_of_gradients_and_that_is_no_difference(
    tmp_path: Path, whole: Path
) -> None:
    seen: dict[str, object] = {"zero_gradients": [0.5] * 32, "nan_gradients": [0.0] * 32}

    def folder(name: str, trace: dict[str, object]) -> Path:
        other = tmp_path / name
        shutil.copytree(whole, other)
        edit(other, lambda data: data.update(trace=trace))
        return other

    newer, told = folder("newer", seen), folder("told", {**seen, "first_loss": [0.0] * 32})
    other = folder("other", {**seen, "zero_gradients": [0.25] * 32})
    for n, sources in enumerate(([whole, newer], [newer, whole])):
        merge(sources, tmp_path / str(n))
        merged, first = (list(Store(f).records("patches")) for f in (tmp_path / str(n), sources[0]))
        assert merged == first
    # Two that saw are compared, and so is what an attack tells itself.
    for one, field in ((other, "gradients seen"), (told, "trace")):
        with pytest.raises(BenchError, match=f"differ in {field}"):
            merge([newer, one], tmp_path / "refused")


def test_older_records_lack_the_draws_of_a_gradient_and_that_is_no_difference(
    tmp_path: Path, whole: Path
) -> None:
    def folder(name: str, more: dict[str, object]) -> Path:
        other = tmp_path / name
        shutil.copytree(whole, other)
        edit(other, lambda data: data.update(trace={"first_loss": [0.0] * 32, **more}))
        return other

    older, newer = folder("older", {}), folder("newer", {"turning_signs": [0.5] * 32})
    merge([older, newer], tmp_path / "merged")
    other = folder("other", {"turning_signs": [0.25] * 32})
    with pytest.raises(BenchError, match="differ in draws of a gradient"):
        merge([newer, other], tmp_path / "refused")


def test_a_plan_that_says_more_takes_the_place_of_an_older_one(tmp_path: Path, whole: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(whole, older)
    (path,) = older.rglob("plans/*.json")
    rewrite(path, lambda plan: plan.pop("attacks"))
    for n, sources in enumerate(([whole, older], [older, whole])):
        merge(sources, tmp_path / str(n))
        assert files(tmp_path / str(n)) == files(whole)


def test_how_a_cell_was_asked_for_is_no_difference(tmp_path: Path, whole: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    asked = {"defense": "none", "attack": "clean", "preset": "paper"}
    edit(other, lambda data: data.update(asked=asked))
    merge([whole, other], tmp_path / "into")
    assert files(tmp_path / "into") == files(whole)


def test_damaged_and_foreign_files_are_refused_by_name(
    tmp_path: Path, whole: Path, halves: list[Path]
) -> None:
    into = tmp_path / "into"
    damaged = min(halves[0].rglob("000.json"))
    damaged.write_text(damaged.read_text()[:100])
    with pytest.raises(BenchError, match=f"{damaged}: not a whole record"):
        merge([whole, halves[0]], into)
    foreign = min(halves[1].rglob("001.json"))
    foreign.rename(foreign.with_name("000.json"))
    with pytest.raises(BenchError, match=r"000\.json: belongs to another cell"):
        merge([whole, halves[1]], into)
    unasked = edit(whole, lambda data: data.update(asked={}))
    with pytest.raises(BenchError, match=f"{unasked}: does not say what was asked"):
        merge([whole], into)
    assert not into.exists()


def test_what_holds_no_results_is_refused(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(BenchError, match="no results in"):
        merge([whole, tmp_path / "nowhere"], tmp_path / "into")
    packed = tmp_path / "digits.jsonl.xz"
    packed.write_bytes(b"")
    with pytest.raises(BenchError, match=r"bench table --results .* --unpack DIR"):
        merge([packed], tmp_path / "into")
    assert not (tmp_path / "into").exists()
