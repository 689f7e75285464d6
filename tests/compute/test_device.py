from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
import torch

from bench.compute import device
from bench.errors import BenchError
from bench.measure import worker
from bench.measure.executors import local
from bench.measure.executors.fleet import Fleet, Work
from bench.measure.worker import Setup

OLD, NEW = (7, 5), (9, 0)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that answer by name, the second one too old for bfloat16."""
    cards = {"cuda:0": ("NVIDIA H200", NEW), "cuda:1": ("Tesla T4", OLD)}
    monkeypatch.setattr(device, "_gpus", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: cards[name][0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: cards[name][1])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu", ("cpu",)),
        ("cuda", ("cuda:0", "cuda:1")),
        ("cuda:1", ("cuda:1",)),
        ("cuda:1, cuda:0", ("cuda:1", "cuda:0")),
    ],
)
def test_names_of_devices(gpus: None, text: str, names: tuple[str, ...]) -> None:
    assert device.parse(text) == names
    assert device.one(text) == torch.device(names[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cuda:2", r"'cuda:2' is not available.*cuda:0 \(cuda NVIDIA H200\), cuda:1 \(cuda Tesla"),
        ("meta", "'meta' is not available here; available: cpu, cuda:0"),
        ("cuda,cuda:1", "twice"),
        ("cpu,cuda:0", "one kind"),
        ("", "'' is not available"),
    ],
)
def test_a_wrong_device_says_what_there_is(gpus: None, text: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        device.parse(text)


def test_records_name_the_kind_of_device_and_not_its_number(gpus: None) -> None:
    assert [device.describe(name) for name in ("cpu", "cuda:0")] == ["cpu", "cuda NVIDIA H200"]


def test_a_precision_that_a_device_lacks_is_refused(gpus: None) -> None:
    assert device.require("bf16", ("cuda:0",)) == "bf16"
    assert device.require("float32", ("cuda:1",)) == "float32"
    for precision, name, says in (
        ("tf32", "cpu", "CUDA devices only"),
        ("bf16", "cuda:1", "capability 8.0"),
        ("fp16", "cpu", "did you mean 'bf16'"),
    ):
        with pytest.raises(BenchError, match=says):
            device.require(precision, (name,))


def test_workers_take_the_devices_in_turn(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup("cuda:0,cuda:1")
    for place, name in enumerate(["cuda:0", "cuda:1", "cuda:0"]):
        monkeypatch.setattr(worker, "_place", place)
        assert setup.here() == name


def _arrive(folder: Path, place: int) -> None:
    (folder / str(place)).touch()


def _meet(folder: Path, task: int) -> int:
    """Wait for the other worker, so that each has a task."""
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return task


def _lost(task: int, reason: str) -> int:
    return -1


def test_every_worker_is_told_its_place(tmp_path: Path) -> None:
    meet, arrive = partial(_meet, tmp_path), partial(_arrive, tmp_path)
    work = Work[int, int](arrive, meet, _lost)
    found = local.execute(range(4), work, Fleet(workers=2), lambda tasks: None)
    assert sorted(found) == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_float32_is_float32_unless_tf32_was_asked_for() -> None:
    device.prepare("cpu")
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    assert not any(flag.allow_tf32 for flag in flags)
    assert not device.tf32(True)
    assert all(flag.allow_tf32 for flag in flags)
    with device.arithmetic("float32", "cuda"):
        assert not any(flag.allow_tf32 for flag in flags)
    assert device.tf32(False)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.54 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (BenchError("out of memory even with one image per network call"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_memory: bool) -> None:
    assert device.out_of_memory(error) == is_memory
