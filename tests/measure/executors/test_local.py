"""Local workers that die, hang or speak in halves: who gets the task then, and what is reported.

Workers are forked here, so that each takes milliseconds; the real ones are spawned in tests/cli.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.measure.executors import local, process
from bench.measure.executors.fleet import STARTS, TRIES, Fleet, Work
from bench.measure.worker import Task, tried
from tests.faults.guard import within

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "START", multiprocessing.get_context("fork"))


def run(
    measure: Callable[[int], object],
    start: Callable[[int], None] = lambda place: None,
    tasks: int = 6,
    **fleet: float,
) -> list[object]:
    work = Work[int, object](start, measure, lambda task, reason: f"{task}: {reason}")
    asked = Fleet(workers=int(fleet.get("workers", 2)), limit=fleet.get("limit", 0.0))
    with within(60):
        return list(local.execute(range(tasks), work, asked, lambda under_way: None))


def plain(found: list[object]) -> list[object]:
    return sorted(found, key=str)


def first(folder: Path, name: str) -> bool:
    """Whether nobody, in any process, has asked this before."""
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_an_answer() -> None:
    """Die in the middle of writing one that is larger than a pipe."""
    whole = os.write

    def torn(pipe: int, data: memoryview) -> int:
        whole(pipe, data[:11])
        die()
        return 0

    os.write = torn  # type: ignore[assignment]  # of this worker, which is about to die


@pytest.mark.parametrize("end", [die, half_an_answer, lambda: os._exit(0), lambda: sys.exit(0)])
def test_a_lost_worker_is_replaced_and_its_task_done_again(
    end: Callable[[], None], tmp_path: Path
) -> None:
    def measure(task: int) -> int:
        if task == 2 and first(tmp_path, "lost"):
            end()
        return task

    assert plain(run(measure)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (die, "killed, perhaps out of memory"),
        (half_an_answer, "killed, perhaps out of memory"),
        (lambda: os._exit(0), "ended with exit code 0"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "ended by signal 15 (Terminated)"),
        (lambda: sys.exit("\x1b[31mred"), "SystemExit: red"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_loses_every_worker_is_a_failure_and_the_rest_goes_on(
    end: Callable[[], None], says: str, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def measure(task: int) -> int:
        if task == 2:
            end()
        return task

    found = plain(run(measure, workers=workers, limit=60))
    assert found == [0, 1, f"2: lost {TRIES} workers: {says}", 3, 4, 5]
    assert capfd.readouterr() == ("", "")


def test_what_takes_too_long_is_ended_once_and_named() -> None:
    def measure(task: int) -> int:
        if task == 2:
            time.sleep(600)
        return task

    for workers in (1, 2):
        found = plain(run(measure, workers=workers, limit=0.5))
        assert found == [0, 1, "2: took longer than 0.5 s (--shard-timeout)", 3, 4, 5]


def test_an_answer_larger_than_a_pipe_comes_whole() -> None:
    found = run(lambda task: bytes([task]) * 2**20, tasks=3)
    assert plain(found) == [bytes([task]) * 2**20 for task in range(3)]


def test_an_answer_that_cannot_be_carried_is_a_failure() -> None:
    found = plain(run(lambda task: (lambda: 0) if task == 2 else task))
    assert found[:2] + found[3:] == [0, 1, 3, 4, 5]
    assert "2: lost 3 workers" in str(found[2])


def test_what_a_worker_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    def measure(task: int) -> int:
        os.write(1, b"hello")
        return task

    run(measure, tasks=2)
    assert capfd.readouterr() == ("", "hellohello")


def test_a_worker_that_may_not_begin_ends_the_run_with_its_words() -> None:
    def start(place: int) -> None:
        raise BenchError("no file there")

    with pytest.raises(BenchError, match="no file there"):
        run(lambda task: task, start)


def test_workers_that_never_get_ready_are_not_started_for_ever(tmp_path: Path) -> None:
    def start(place: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        die()

    with pytest.raises(BenchError, match="no worker could start: killed"):
        run(lambda task: task, start)
    assert len(list(tmp_path.iterdir())) <= STARTS + 1


def test_closed_it_leaves_no_process() -> None:
    work = Work[int, int](lambda place: None, lambda task: os.getpid(), lambda task, reason: 0)
    found = local.execute(range(99), work, Fleet(workers=2), lambda tasks: None)
    with within(60):
        worker = next(found)
        found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_what_is_under_way_is_told() -> None:
    seen: list[list[int]] = []
    work = Work[int, int](lambda place: None, lambda task: task, lambda task, reason: 0)
    with within(60):
        for workers, limit in ((1, 0), (2, 0)):
            asked = Fleet(workers=workers, limit=limit)
            list(local.execute(range(3), work, asked, lambda tasks: seen.append(list(tasks))))
            assert {task for tasks in seen for task in tasks} == {0, 1, 2}
            assert max(map(len, seen)) <= workers
            seen.clear()


@dataclass
class Pipe:
    """One end of a real pipe, as Answers reads it."""

    number: int

    def fileno(self) -> int:
        return self.number


def test_any_cut_of_an_answer_is_waited_for_and_any_end_is_seen() -> None:
    data = pickle.dumps((process.RESULT, 7))
    data = len(data).to_bytes(process.HEAD, "big") + data
    for cut in range(len(data)):
        read, write = os.pipe()
        answers = process.Answers(Pipe(read))  # type: ignore[arg-type]  # only fileno is used
        os.write(write, data[:cut])
        assert answers.take() is None
        assert not answers.over
        if cut % 2:
            os.close(write)
            assert answers.take() is None
            assert answers.over
        else:
            os.write(write, data[cut:])
            assert answers.take() == (process.RESULT, 7)
            os.close(write)
        os.close(read)


class Own(BaseException):
    """No Exception."""


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), Own("x\x1b[2J\ny")])
def test_whatever_a_plug_in_raises_is_a_failure_of_its_shard(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises() -> None:
        raise error

    task: Task = object()  # type: ignore[assignment]  # only carried
    failure = tried(task, raises)
    assert failure is not None
    assert failure.task is task
    assert failure.reason == {"Own": "Own: x y"}.get(
        type(error).__name__, f"{type(error).__name__}: {error}".rstrip()
    )


def test_ctrl_c_is_no_failure() -> None:
    def raises() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(object(), raises)  # type: ignore[arg-type]  # only carried


def test_a_worker_may_take_longer_to_get_ready_than_a_task() -> None:
    found = run(lambda task: task, lambda place: time.sleep(1.0), tasks=2, limit=0.5)
    assert plain(found) == [0, 1]


def test_a_worker_that_is_never_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PATIENCE", 0.2)
    with pytest.raises(BenchError, match="no worker could start: it was not ready in time"):
        run(lambda task: task, lambda place: time.sleep(600))
