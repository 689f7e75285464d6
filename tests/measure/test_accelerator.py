"""Whole shards on another device than the CPU: the same numbers, whatever its generator gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from bench.api.context import Weights
from bench.compute import rng
from bench.compute.network import Network
from bench.measure import build, probe, worker
from bench.measure.worker import Failure, Setup, Task, measure
from bench.models.zoo.weights import load_state
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.store import Planned, Record
from tests.accelerator import NAME, installed

PURIFIERS = {
    "adp:runs=2,steps=2": "bpda-eot:steps=1,eot=2",
    "scoreopt-n:runs=1,steps=2": "bpda:steps=1",
    "langevin:steps=2,runs=2": "joint-score:steps=1,eot=1",
    "gdmp:runs=1,rounds=1,steps=2": "pgd-exact:steps=1,eot=1",
    "aid@madry": "bpda:steps=1",
    "jpeg": "corruption:kinds=fog,severities=1",
    "wiener": "transfer:steps=1",
    "gaussian:runs=2": "spsa:steps=1",
    "none": "square:queries=10",
    "median": "autoattack:attacks=apgd-ce,steps=2",
}


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    worker._memory.clear()
    yield
    worker._memory.clear()
    Network.chunk, Network.lean = 32, False


def planned(defense: str, attack: str) -> Planned:
    made, _ = make(
        Request([defense], [attack], dataset="digits", images=32, preset="quick", controls=[])
    )
    return made.cells[0]


def measured(cell: Planned, setup: Setup) -> Record:
    found = measure(Task(cell, 0, "quick", setup))
    assert isinstance(found, Record), found
    return found


def differing(a: Record, b: Record) -> int:
    return sum(x != y for x, y in zip("".join(a.correct), "".join(b.correct), strict=True))


@pytest.mark.parametrize(("defense", "attack"), PURIFIERS.items(), ids=list(PURIFIERS))
def test_another_device_gives_the_cpus_record(
    monkeypatch: pytest.MonkeyPatch, defense: str, attack: str
) -> None:
    cell = planned(defense, attack)
    here = measured(cell, Setup())
    with installed(monkeypatch):
        there = measured(cell, Setup(device=NAME))
    assert differing(here, there) <= 1  # its kernels may round otherwise
    assert (here.calls, here.queries, here.distance) == (there.calls, there.queries, there.distance)
    for name, values in here.trace.items():
        assert there.trace[name] == pytest.approx(values, rel=0.02, abs=1e-3)
    assert there.timing["device"] == NAME


def test_its_own_generator_would_give_others(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = planned("gaussian:runs=2", "bpda-eot:steps=1,eot=2")
    here = measured(cell, Setup())
    monkeypatch.setattr(rng, "drawn_on_cpu", lambda device: nullcontext())
    for asked in ("require", "require_unchanged"):  # they would refuse
        monkeypatch.setattr(probe, asked, lambda *given: None)
    with installed(monkeypatch):
        there = measured(cell, Setup(device=NAME))
    assert there.trace["first_loss"] != pytest.approx(here.trace["first_loss"], rel=0.02, abs=1e-3)


@pytest.mark.parametrize(("images", "chunk"), [(32, 32), (8, 8)])
def test_a_small_memory_changes_nothing_but_a_note(
    monkeypatch: pytest.MonkeyPatch, images: int, chunk: int
) -> None:
    cell = planned("gdmp:runs=2,rounds=1,steps=2", "pgd-exact:steps=1,eot=2")
    with installed(monkeypatch):
        whole = measured(cell, Setup(device=NAME, chunk=64))
    with installed(monkeypatch, images=images) as small:
        split = measured(cell, Setup(device=NAME, chunk=64))
        assert Network.chunk == 64  # other defenses are not slowed down
    assert small.refused > 0
    assert differing(split, whole) <= 1
    assert replace(split, timing={}, correct=whole.correct, trace=whole.trace) == replace(
        whole, timing={}
    )
    assert split.trace["first_loss"] == pytest.approx(whole.trace["first_loss"], rel=1e-3)
    assert split.timing["out_of_memory"] == f"{chunk} images per network call instead of 64"
    assert split.timing["chunk"] == chunk
    assert "out_of_memory" not in whole.timing


def test_a_graph_that_no_one_can_split_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's graph of a whole batch: the shard is repeated, with networks that keep less."""
    cell = planned("median", "autoattack:attacks=apgd-ce,steps=2")
    plain = measured(cell, Setup())
    answer, refused = Network._answer, list[int]()

    def scarce(self: Network, x: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
        many = len(x) > 1  # one is asked before
        if many and torch.is_grad_enabled() and x.requires_grad and not Network.lean:
            refused.append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer(self, x, *args)

    monkeypatch.setattr(Network, "_answer", scarce)
    build.forget()  # what was built before would put the method back
    found = measured(cell, Setup())
    assert refused == [32]
    assert replace(found, timing={}, trace={}) == replace(plain, timing={}, trace={})
    assert "out_of_memory" in found.timing
    again = measured(cell, Setup())
    assert refused == [32]  # what was learned of a defense is kept
    assert again.correct == plain.correct


def test_too_little_memory_for_anything_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with installed(monkeypatch, images=0):
        found = measure(Task(planned("none", "clean"), 0, "quick", Setup(device=NAME)))
    assert isinstance(found, Failure)
    assert "even with one image" in found.reason


def test_a_worker_reads_every_weight_file_of_a_defense_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = list[str]()

    def counted(weights: Weights) -> Mapping[str, torch.Tensor]:
        read.append(weights.name)
        return load_state(weights)

    monkeypatch.setattr("bench.models.zoo.networks.load_state", counted)
    build.forget()
    for attack in ("clean", "classifier-pgd:steps=1"):
        cell = planned("adp:runs=1,steps=1", attack)
        for shard in (0, 1):
            assert isinstance(measure(Task(cell, shard, "quick", Setup())), Record)
    assert sorted(read) == ["natural", "score"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("defense", ["adp:runs=2,steps=2", "gdmp:runs=1,rounds=1,steps=2"])
def test_a_gpu_gives_the_cpus_verdicts_twice(defense: str) -> None:
    cell = planned(defense, "bpda-eot:steps=2,eot=2")
    setup = Setup(device="cuda:0")
    setup.start()
    here, there = measured(cell, Setup()), measured(cell, setup)
    assert differing(here, there) <= 2
    assert here.calls == there.calls
    assert replace(there, timing={}) == replace(measured(cell, setup), timing={})
