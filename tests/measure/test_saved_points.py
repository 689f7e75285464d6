"""`--save-adversarial`: the points of every shard beside its record, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.api.ball import ThreatModel
from bench.data.points import read
from bench.errors import BenchError
from bench.measure import build, runner, weights_used
from bench.measure.executors.fleet import Fleet
from bench.measure.runner import Summary
from bench.measure.worker import Setup
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.merge import Merged, merge
from bench.results.store import EXTRAS, Plan, Record, Store
from tests.factories import repeatable

PLAN, _ = make(
    Request(
        defenses=["gaussian:runs=2"],
        attacks=["bpda-eot:steps=2,eot=2", "corruption:kinds=fog+jpeg_compression,severities=5"],
        dataset="digits",
        images=64,
        controls=[],
    )
)
SHARDS = 2 * len(PLAN.cells)


def run(store: Store, save: bool = True, plan: Plan = PLAN) -> Summary:
    summary = Summary()

    def today(defense: str, attack: str) -> dict[str, str]:
        return weights_used.weights_used(defense, attack, "digits")

    tasks = runner.pending(plan, store, today, summary, Setup(), save=save)
    return runner.run(tasks, store, Fleet(), summary)


def files(store: Store, suffix: str = "") -> dict[str, bytes]:
    """Everything in a store; records without what may differ."""
    found = {}
    for path in store.root.rglob(f"*{suffix}"):
        if path.is_file():
            content = path.read_bytes()
            if "records" in path.parts and path.suffix == ".json":
                content = json.dumps(repeatable(content)).encode()
            found[str(path.relative_to(store.root))] = content
    return found


def bare(record: Record) -> Record:
    """The record of a run that stores no points."""
    return replace(record, timing={}, points="", rounded=())


def copy(store: Store, into: Path) -> Store:
    shutil.copytree(store.root, into)
    return Store(into)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("plain"))
    assert run(store, save=False).measured == SHARDS
    return store


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("saved"))
    assert run(store).measured == SHARDS
    return store


def test_a_record_gains_two_fields_and_changes_in_no_other(plain: Store, saved: Store) -> None:
    before, after = (list(store.records("digits")) for store in (plain, saved))
    assert [bare(record) for record in after] == [bare(record) for record in before]
    assert not (set(EXTRAS) & set(json.loads(before[0].to_json())))
    assert not list(plain.root.rglob("*.safetensors"))
    for record in after:
        content = saved.points(record.cell, record.shard).read_bytes()
        assert record.points == hashlib.sha256(content).hexdigest()
        assert len(record.rounded) == len(record.correct)


def test_points_are_what_the_record_measured(saved: Store) -> None:
    source = build.dataset("digits")
    for record in saved.records("digits"):
        points = read(saved.points(record.cell, record.shard), "digits", source.info.shape)
        assert (points.index, points.label) == (record.index, record.label)
        assert points.variants == record.variants
        x, threat = source.take("test", record.index).x, ThreatModel.parse(record.cell.threat)
        assert all(threat.contains(variant, x).all() for variant in points.x_adv)
        distance = torch.stack([threat.distance(variant, x) for variant in points.x_adv]).amax(0)
        assert torch.allclose(distance, torch.tensor(record.distance), atol=1e-6)


def test_a_record_without_its_points_is_measured_again_and_stays(
    plain: Store, saved: Store, tmp_path: Path
) -> None:
    store = copy(plain, tmp_path / "results")
    before = {record.cell: record.timing for record in store.records("digits")}
    summary = run(store)
    assert (summary.measured, summary.again, summary.stale) == (SHARDS, SHARDS, 0)
    assert files(store) == files(saved)
    assert {record.cell: record.timing for record in store.records("digits")} == before
    assert run(store).kept == SHARDS
    assert run(store, save=False).kept == SHARDS


def test_points_that_were_lost_are_made_again(saved: Store, tmp_path: Path) -> None:
    store = copy(saved, tmp_path / "results")
    min(store.root.rglob("*.safetensors")).unlink()
    summary = run(store)
    assert (summary.measured, summary.again, summary.kept) == (1, 1, SHARDS - 1)
    assert files(store) == files(saved)


def test_a_run_that_ends_between_points_and_record_continues(
    saved: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)

    def killed(self: Store, *_: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        record = next(saved.records("digits"))
        planned = next(p for p in PLAN.cells if p.cell == record.cell)
        patched.setattr(Store, "path", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(planned, record, b"points")
    assert store.points(record.cell, record.shard).read_bytes() == b"points"
    run(store)
    found = {name: content for name, content in files(store).items() if "stale" not in name}
    assert found == files(saved)


def test_a_record_that_does_not_agree_stays_and_gets_no_points(
    plain: Store, tmp_path: Path
) -> None:
    store = copy(plain, tmp_path / "results")
    planned = PLAN.cells[0]
    record = store.read(planned, 0)
    assert record is not None
    other = replace(record, correct=tuple("1" * 32 for _ in record.correct))
    store.write(planned, other)
    summary = run(store, plan=replace(PLAN, cells=(planned,)))
    (failure,) = summary.failures
    assert "it differs in correct from its record, which stays" in failure.reason
    assert store.read(planned, 0) == other
    assert not store.points(planned.cell, 0).exists()
    assert store.points(planned.cell, 1).exists()


def test_points_of_other_weights_are_moved_aside_with_their_record(
    saved: Store, tmp_path: Path
) -> None:
    store = copy(saved, tmp_path / "results")
    planned = PLAN.cells[0]
    record = store.read(planned, 0)
    assert record is not None
    store.write(planned, replace(record, weights={"natural": "0" * 64}))
    summary = run(store)
    assert (summary.stale, summary.again, summary.measured) == (1, 0, 1)
    assert {path.suffix for path in store.root.rglob("000.*")} == {
        ".json",
        ".safetensors",
        ".stale",
    }
    assert len(list(store.root.rglob("*.stale"))) == 2


def test_a_certificate_has_no_points(tmp_path: Path) -> None:
    asked = Request(["none"], ["certify:copies=10,first=5"], "digits", images=32)
    plan, _ = make(asked)
    store = Store(tmp_path)
    assert run(store, plan=plan).measured == 1
    assert not list(tmp_path.rglob("*.safetensors"))
    assert run(store, plan=plan).kept == 1


def part(store: Store, into: Path, leave_out: str) -> Store:
    """A copy without some files."""
    found = copy(store, into)
    for path in found.root.rglob(leave_out):
        path.unlink()
    return found


def test_a_merge_carries_points(plain: Store, saved: Store, tmp_path: Path) -> None:
    halves = [part(saved, tmp_path / f"part-{n}", f"00{1 - n}.*").root for n in (0, 1)]
    into = tmp_path / "into"
    done = Merged(copied=SHARDS, kept=0, plans=0, points=SHARDS)
    assert merge(halves, into) == done
    assert files(Store(into)) == files(saved)
    assert merge(halves, into) == Merged(copied=0, kept=SHARDS, plans=0)
    # Where one folder has the records and another their points too, both come in, in any order.
    for number, sources in enumerate(([plain.root, saved.root], [saved.root, plain.root])):
        both = tmp_path / f"both-{number}"
        assert merge(sources, both) == Merged(SHARDS, SHARDS, 0, SHARDS)
        assert files(Store(both)) == files(saved)


def test_a_merge_names_points_that_are_damaged_and_counts_those_that_are_gone(
    saved: Store, tmp_path: Path
) -> None:
    bad = copy(saved, tmp_path / "bad")
    file = min(bad.root.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BenchError, match=f"{file} is not the file that its record names"):
        merge([bad.root], tmp_path / "into")
    assert not (tmp_path / "into").exists()
    file.unlink()
    done = merge([bad.root], tmp_path / "into")
    assert (done.copied, done.points, done.lost) == (SHARDS, SHARDS - 1, 1)
