"""Who gets which task, and what becomes of tasks whose workers are lost: on a Ray of the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.errors import BenchError
from bench.measure.executors import ray as executor
from bench.measure.executors.fleet import STARTS, TRIES, Fleet, Work


class LostError(Exception):
    """What Ray raises when a worker is gone."""

    actor_init_failed = False


def never(number: int) -> str:
    raise NotImplementedError  # no answer comes


@dataclass
class Ray(ModuleType):
    """Answers in the order of asking. start and measure decide what worker number n answers."""

    start: Callable[[int], str] = lambda number: ""
    measure: Callable[[int, int], int] = lambda number, task: task
    hired: int = 0
    killed: list[int] = field(default_factory=list)
    most: int = 0
    machines: list[dict[str, object]] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=LostError))

    def remote(self, *_: object) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._hire))

    def _hire(self, *_: object) -> Any:
        self.hired += 1
        number = self.hired
        start = SimpleNamespace(remote=lambda: Answer(lambda: self.start(number)))
        measure = SimpleNamespace(remote=lambda task: Answer(lambda: self.measure(number, task)))
        return SimpleNamespace(number=number, start=start, measure=measure)

    def wait(self, answers: list[Answer], timeout: float | None) -> tuple[list[Answer], object]:
        self.most = max(self.most, len(answers))
        for answer in answers:
            try:
                answer.ask()
            except NotImplementedError:
                continue
            except LostError:
                pass
            return [answer], None
        assert timeout is not None, "it would wait for ever"
        return [], None

    def get(self, answer: Answer) -> object:
        return answer.ask()

    def kill(self, worker: Any) -> None:
        self.killed.append(worker.number)

    def nodes(self) -> list[dict[str, object]]:
        return self.machines

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}


@dataclass(frozen=True, eq=False)
class Answer:
    ask: Callable[[], object]


def results(ray: Ray, tasks: int = 6, workers: int = 2) -> list[int]:
    work = Work[int, int](lambda place: None, lambda task: task, lambda task, reason: -task)
    pool = executor._Cluster(ray, range(1, tasks + 1), work, Fleet(workers=workers))
    try:
        return list(pool.results())
    finally:
        pool.close()


def test_every_task_is_measured_once_and_every_worker_ends() -> None:
    ray = Ray()
    assert sorted(results(ray)) == [1, 2, 3, 4, 5, 6]
    assert ray.hired == ray.most == 2
    assert sorted(set(ray.killed)) == [1, 2]


def test_no_more_workers_than_tasks() -> None:
    ray = Ray()
    assert results(ray, tasks=1, workers=8) == [1]
    assert ray.hired == 1


def test_a_lost_worker_is_replaced_and_its_task_done_again() -> None:
    def measure(number: int, task: int) -> int:
        if number == 1:
            raise LostError
        return task

    ray = Ray(measure=measure)
    assert sorted(results(ray)) == [1, 2, 3, 4, 5, 6]
    assert ray.hired == 3


def test_a_task_that_loses_every_worker_is_a_failure_and_the_rest_is_measured() -> None:
    def measure(number: int, task: int) -> int:
        if task == 2:
            raise LostError
        return task

    ray = Ray(measure=measure)
    assert sorted(results(ray)) == [-2, 1, 3, 4, 5, 6]
    assert ray.hired == 2 + TRIES


def test_a_worker_that_lacks_something_ends_the_run_with_its_words() -> None:
    with pytest.raises(BenchError, match="no file there"):
        results(Ray(start=lambda number: "no file there" if number == 2 else ""))


def test_workers_that_never_get_ready_are_not_hired_for_ever() -> None:
    def start(number: int) -> str:
        raise LostError

    ray = Ray(start=start)
    with pytest.raises(BenchError, match="no worker could start: killed"):
        results(ray)
    assert ray.hired <= STARTS + 2


def test_a_machine_on_which_nothing_starts_does_not_stop_the_others() -> None:
    def start(number: int) -> str:
        if number > 1:
            raise LostError
        return ""

    ray = Ray(start=start)
    assert sorted(results(ray)) == [1, 2, 3, 4, 5, 6]


def test_a_busy_cluster_is_waited_for_but_not_for_ever() -> None:
    with pytest.raises(BenchError, match=r"within \d+ s: the cluster is busy \(it has 4 CPUs, 0"):
        results(Ray(start=never))


def test_a_worker_without_room_is_not_waited_for() -> None:
    ray = Ray(start=lambda number: "" if number == 1 else never(number))
    assert sorted(results(ray)) == [1, 2, 3, 4, 5, 6]
    assert set(ray.killed) == {1, 2}


@pytest.mark.parametrize(("gpus", "room"), [(0, 6), (1, 2), (0.5, 3), (3, 0)])
def test_room_is_counted_machine_by_machine(gpus: float, room: int) -> None:
    machines: list[dict[str, object]] = [
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": True, "Resources": {}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
    ]
    assert executor._room(Ray(machines=machines), gpus) == room


def test_reasons_are_one_line() -> None:
    failed = LostError("it died\n  line 3\nModuleNotFoundError: No module named 'bench'\n")
    assert "machines are gone" in executor._reason(failed)
    failed.actor_init_failed = True
    assert executor._reason(failed) == "ModuleNotFoundError: No module named 'bench'"


def test_clusters_of_one_process_share_a_token() -> None:
    assert executor._token() == executor._token()
