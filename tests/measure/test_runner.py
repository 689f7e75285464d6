"""The runner on the real small data set: resume, order, workers and chunks change no verdict."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.progress import LONG, Reporter
from bench.errors import BenchError
from bench.files.write import remove_parts
from bench.measure import build, runner, weights_used, worker
from bench.measure.executors.fleet import Fleet
from bench.measure.runner import Summary, longest_first
from bench.measure.worker import Failure, Setup, Task, measure, resolved
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.store import Plan, Record, Store
from tests.factories import repeatable

REQUEST = Request(
    defenses=["gaussian:runs=2"],
    attacks=["clean", "bpda-eot:steps=2,eot=2", "transfer:steps=2"],
    dataset="digits",
    images=64,
    controls=[],
)
PLAN, DRAFT = make(REQUEST)


def today(defense: str, attack: str) -> dict[str, str]:
    return weights_used.weights_used(defense, attack, "digits")


def run(store: Store, plan: Plan = PLAN, setup: Setup | None = None, workers: int = 1) -> Summary:
    summary = Summary()
    tasks = runner.pending(plan, store, today, summary, setup or Setup())
    return runner.run(
        longest_first(tasks, plan, DRAFT.costs), store, Fleet(workers=workers), summary
    )


def untimed(record: Record) -> str:
    return json.dumps(repeatable(record.to_json()))


def contents(store: Store) -> list[str]:
    return [untimed(record) for record in store.records("digits")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("whole"))
    summary = run(store)
    assert (summary.measured, summary.kept, summary.failures) == (len(PLAN.cells) * 2, 0, [])
    return store


def test_software_names_what_the_attack_runs_besides() -> None:
    """torchattacks stands in the records of its own attacks, and older records stay as they are."""
    asked = replace(REQUEST, defenses=["none"], attacks=["fgsm", "bim:steps=1", "clean"], images=32)
    found = {}
    for planned in make(asked)[0].cells:
        record = measure(Task(planned, 0, "quick", Setup()))
        assert isinstance(record, Record)
        found[planned.attack] = set(record.software)
    assert found["fgsm"] == found["bim:steps=1"] == {*found["clean"], "torchattacks"}
    assert "torchattacks" not in found["clean"]


def test_records_hold_what_was_asked_and_what_it_resolved_to(whole: Store) -> None:
    record = next(r for r in whole.records("digits") if r.asked["attack"].startswith("bpda"))
    assert record.asked["defense"] == "gaussian:runs=2@natural"
    attack, (defense,) = record.resolved["attack"], record.resolved["defense"]
    assert (attack["name"], attack["settings"]["eot"]) == ("bpda-eot", 2)
    assert (defense["name"], defense["settings"]["runs"]) == ("gaussian", 2)
    assert record.draws == 4
    assert record.calls["classifier"] == {"attack": (128, 128), "judge": (4 * 2 * 32, 0)}
    assert set(record.weights) == {"natural"}


def test_finished_work_is_not_done_again(whole: Store) -> None:
    summary = run(whole)
    assert (summary.measured, summary.kept) == (0, len(PLAN.cells) * 2)


def test_a_lost_shard_is_measured_again_and_equals_the_first(whole: Store) -> None:
    before = contents(whole)
    whole.path(PLAN.cells[1], 1).unlink()
    assert run(whole).measured == 1
    assert contents(whole) == before


def test_workers_and_order_change_nothing(whole: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    backwards = replace(PLAN, cells=tuple(reversed(PLAN.cells)))
    summary = Summary()
    tasks = runner.pending(backwards, other, today, summary, Setup())
    runner.run(tasks, other, Fleet(workers=2), summary)
    assert contents(other) == contents(whole)


def test_chunks_change_no_verdict(whole: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    run(other, setup=Setup(chunk=128))
    build.context("digits")
    Setup().start()
    verdicts = [[r.correct for r in store.records("digits")] for store in (whole, other)]
    assert verdicts[0] == verdicts[1]


def test_a_record_made_with_other_weights_is_stale(whole: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    planned = PLAN.cells[0]
    record = whole.read(planned, 0)
    assert record is not None
    other.write(planned, replace(record, weights={"natural": "0" * 64}))
    summary = Summary()
    tasks = runner.pending(PLAN, other, today, summary, Setup())
    assert summary.stale == 1
    assert (planned, 0) in [(task.planned, task.shard) for task in tasks]


def test_more_draws_resubmit_the_same_images(whole: Store, tmp_path: Path) -> None:
    """The attack is the same, its points meet more fresh randomness: success at K."""
    other = Store(tmp_path)
    summary = Summary()
    tasks = runner.pending(PLAN, other, today, summary, Setup(), draws=6)
    runner.run([task for task in tasks if task.shard == 0], other, Fleet(), summary)
    before = {record.cell.digest: record for record in whole.records("digits") if not record.shard}
    for record in other.records("digits"):
        first = before[record.cell.digest]
        random = record.asked["defense"].startswith("gaussian")
        assert (record.draws, first.draws) == ((6, 4) if random else (1, 1))
        assert record.correct[: first.draws] == first.correct
        assert record.distance == first.distance


def test_a_cell_keeps_the_most_draws_that_it_has(whole: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    planned = next(p for p in PLAN.cells if p.defense.startswith("gaussian"))
    records = [whole.read(planned, shard) for shard in (0, 1)]
    for record, draws in zip(records, (6, 4), strict=True):
        assert record is not None
        more = (*record.correct, *record.correct)[:draws]
        other.write(planned, replace(record, draws=draws, correct=more))
    summary = Summary()
    alone = replace(PLAN, cells=(planned,))
    tasks = runner.pending(alone, other, today, summary, Setup())
    assert [(task.shard, task.draws) for task in tasks] == [(1, 6)]
    assert (summary.kept, summary.stale) == (1, 1)
    tasks = runner.pending(alone, other, today, Summary(), Setup(), draws=9)
    assert [(task.shard, task.draws) for task in tasks] == [(0, 9), (1, 9)]


def test_an_interrupted_run_leaves_no_stale_number(
    whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store(tmp_path)
    for planned in PLAN.cells:
        record = whole.read(planned, 0)
        assert record is not None
        other.write(planned, replace(record, weights={"natural": "0" * 64}))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.measure.executors.local.execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(other)
    assert not list(other.records("digits"))
    assert len(list(tmp_path.rglob("*.json.stale"))) == len(PLAN.cells)


def test_parts_of_one_name_are_recorded_apart() -> None:
    found = resolved("gaussian:sigma=0.1+gaussian:sigma=0.2@natural", "clean")["defense"]
    assert [part["settings"]["sigma"] for part in found] == [0.1, 0.2]


def test_a_weight_file_replaced_during_a_run_lends_its_name_to_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(build.context("digits").weights("natural").path.read_bytes())
    task = Task(PLAN.cells[0], 0, "quick", Setup(weights=(("natural", str(file)),)))
    first = measure(task)
    assert isinstance(first, Record)
    file.write_bytes(build.context("digits").weights("madry").path.read_bytes())
    again = measure(task)
    assert isinstance(again, Record)
    assert (again.correct, again.weights) == (first.correct, first.weights)


def test_other_plug_ins_or_weights_than_the_plans_are_refused() -> None:
    planned = PLAN.cells[0]
    task = Task(planned, 0, "quick", Setup(), today(planned.cell.defense, planned.cell.attack))
    assert isinstance(measure(task), Record)
    assert task.weights is not None
    other = measure(replace(task, weights={name: "0" * 64 for name in task.weights}))
    assert isinstance(other, Failure)
    assert other.reason == "weights natural are not the files of the plan"
    cell = replace(planned.cell, versions=planned.cell.versions.replace("judge=1", "judge=0"))
    older = measure(replace(task, planned=replace(planned, cell=cell)))
    assert isinstance(older, Failure)
    assert "planned with plug-ins judge=0" in older.reason


def test_a_damaged_or_edited_record_is_named_kept_aside_and_measured_again(
    whole: Store, tmp_path: Path
) -> None:
    other = Store(tmp_path / "results")
    shutil.copytree(whole.root, other.root)
    paths = [other.path(PLAN.cells[n], shard) for n, shard in ((0, 1), (1, 0), (1, 1))]
    found = [json.loads(path.read_text()) for path in paths[1:]]
    found[0]["correct"] = ["1" * 32 for _ in found[0]["correct"]]
    del found[1]["checksum"]
    texts = ("half a rec", *map(json.dumps, found))
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    damaged = [path.read_text() for path in paths]
    summary = run(other)
    assert (summary.measured, summary.stale) == (3, 0)
    for path, said, why in zip(
        paths, summary.broken, ("not a whole", "edited", "without a"), strict=True
    ):
        assert said.startswith(f"{path}: {why}")
    assert [path.with_name(f"{path.name}.stale").read_text() for path in paths] == damaged
    assert contents(other) == contents(whole)


def test_what_could_not_be_read_back_is_a_failure_and_never_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Task(PLAN.cells[0], 0, "quick", Setup())
    good = worker._verdicts
    for name, value, says in (
        ("queries", (1, 2), "length of queries"),
        ("protocol", "10", "verdicts"),
        ("distance", (float("nan"),) * 32, "not finite"),
        ("calls", {"classifier": {"attack": (-1, 0)}}, "calls"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(worker, "_verdicts", lambda out, n=name, v=value: good(out) | {n: v})
            failure = measure(task)
        assert isinstance(failure, Failure)
        assert says in failure.reason


def test_a_failure_is_a_reason_and_never_a_record(tmp_path: Path) -> None:
    planned = PLAN.cells[0]
    broken = replace(planned, cell=replace(planned.cell, defense="adp:network=nothing@natural"))
    result = measure(Task(broken, 0, "quick"))
    assert isinstance(result, Failure)
    assert "nothing" in result.reason
    plan = replace(PLAN, cells=(broken,))
    summary = runner.run([Task(broken, 0, "quick")], Store(tmp_path), Fleet(), Summary())
    assert len(summary.failures) == 1
    assert plan.shards == 2
    assert not list(tmp_path.rglob("*.json"))


def test_a_worker_whose_device_lacks_the_precision_measures_nothing() -> None:
    with pytest.raises(BenchError, match="tf32 exists on CUDA devices only, not on 'cpu'"):
        Setup(precision="tf32").start()


def test_what_another_run_has_measured_meanwhile_is_not_measured_again(
    whole: Store, tmp_path: Path
) -> None:
    other, summary = Store(tmp_path), Summary()
    tasks = runner.pending(PLAN, other, today, summary, Setup())
    for place, planned in enumerate(PLAN.cells[:2]):
        record = whole.read(planned, 0)
        assert record is not None
        if place:  # of other draws than this run's
            record = replace(record, draws=9, correct=record.correct[:1] * 9)
        other.write(planned, record)
    runner.run([t for t in tasks if not t.shard][:2], other, Fleet(), summary)
    assert (summary.kept, summary.measured) == (1, 1)


def test_parts_of_dead_runs_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead, young, held = (tmp_path / f"digits/.{name}.part" for name in ("dead", "young", "held"))
    dead.parent.mkdir()
    for path in (dead, young, held):
        path.write_text("half")
    for path in (dead, held):
        os.utime(path, (1, 1))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_parts(tmp_path)
    assert sorted(path.name for path in dead.parent.iterdir()) == [".held.part", ".young.part"]


@pytest.mark.parametrize("removed", ["all", "records"])
def test_a_folder_removed_during_the_run_is_an_error(tmp_path: Path, removed: str) -> None:
    store, summary = Store(tmp_path / "results"), Summary()
    tasks = [t for t in runner.pending(PLAN, store, today, summary, Setup()) if not t.shard][:2]
    mine = {(task.planned.cell.digest, task.shard) for task in tasks}

    def remove(task: Task, seconds: float) -> None:
        if task == tasks[0]:
            shutil.rmtree(store.root if removed == "all" else store.root / "digits" / "records")

    def whole_run() -> None:
        runner.run(tasks, store, Fleet(), summary, remove)
        runner.require_all(PLAN, store, summary, mine)

    with pytest.raises(BenchError, match="removed or moved during the run"):
        whole_run()


def test_what_runs_for_long_is_said_ever_more_seldom(
    whole: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Summary()
    tasks = runner.pending(PLAN, Store(Path("nowhere")), today, summary, Setup())
    reporter = Reporter(PLAN, DRAFT, tasks, summary, quiet=False)
    reporter.watch([])
    reporter.watch(tasks[:1])
    begun = f"first: {tasks[0].planned.defense} {tasks[0].planned.attack}, shard 0\n"
    assert capsys.readouterr().err == begun
    reporter.watch(tasks[:2])
    reporter.watch(tasks[:1])
    assert capsys.readouterr().err == ""
    now = time.monotonic()
    for seconds in (10, LONG + 1, LONG + 2, 2 * LONG, 2 * LONG + 3, 3 * LONG):
        reporter.say_what_takes_long(now + seconds)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" s: ")[0] for line in said] == ["running for 61", "running for 123"]
    assert tasks[0].planned.attack in said[0]
    assert said[0].endswith(", shard 0")
    reporter.watch([])
    reporter.say_what_takes_long(now + 99 * LONG)
    assert capsys.readouterr().err == ""
