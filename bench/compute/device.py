"""What networks are computed on and how exactly: devices, workers on them, precision, flags.

Nothing here is part of what a cell is. A reduced precision is used only behind the gate of
`bench/measure/precision.py`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from bench.compute.names import Precision, meant
from bench.errors import BenchError

_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
"""In messages of what has no exception of its own: MPS, the CPU's allocator, cuBLAS and cuDNN."""


def available() -> dict[str, str]:
    """Every device here, and what it is: `cuda:0` -> `cuda NVIDIA H200`."""
    names = ["cpu", *(f"cuda:{i}" for i in range(_gpus()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return {name: describe(name) for name in names}


def parse(text: str) -> tuple[str, ...]:
    """`cpu`, `cuda:1`, `cuda:0,cuda:1`, `mps`; `cuda` is every GPU that is visible.

    Raises:
        BenchError: a device that is not here, named twice, or of another kind than the others.
    """
    here, names = available(), []
    for word in (word.strip() for word in text.split(",")):
        found = [name for name in here if word in (name, name.partition(":")[0])]
        if not found:
            listed = ", ".join(f"{n} ({what})" if what != n else n for n, what in here.items())
            raise BenchError(f"device '{word}' is not available here; available: {listed}")
        names += found
    if len(set(names)) < len(names):
        raise BenchError(f"--device {text} names a device twice; --workers puts more on one")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise BenchError(f"--device {text}: devices of one run are of one kind")
    return tuple(names)


def one(text: str) -> torch.device:
    """The first device that `text` names, for what runs on one only."""
    return torch.device(parse(text)[0])


def describe(name: str) -> str:
    """What records call a device, the same on every machine that has one like it."""
    kind = name.partition(":")[0]
    return f"cuda {torch.cuda.get_device_name(name)}" if kind == "cuda" else kind


def prepare(name: str) -> None:
    """Make `name` the device of this process, and every run on it give the same numbers.

    On CUDA that takes cuDNN without its speed trials, deterministic algorithms where torch has
    them, and a fixed workspace of cuBLAS. float32 is float32: torch itself allows TF32 in
    convolutions.
    """
    tf32(False)
    if not name.startswith("cuda"):
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(name)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    uninitialised: Any = torch.utils.deterministic
    uninitialised.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")


def require(precision: str, devices: tuple[str, ...]) -> Precision:
    """`precision` if these devices have it.

    Raises:
        BenchError: an unknown precision, or one that a device lacks.
    """
    asked = meant(precision, "cuda")
    for name in devices if asked != "float32" else ():
        meant(asked, name)
        if name.startswith("cuda") and torch.cuda.get_device_capability(name) < (8, 0):
            raise BenchError(
                f"precision {asked} needs a GPU of compute capability 8.0 (Ampere) or higher, and "
                f"'{name}' ({describe(name)}) has less"
            )
    return asked


def tf32(allowed: bool) -> bool:
    """Allow or forbid TF32 in this process; what it was before."""
    before = bool(torch.backends.cuda.matmul.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    return before


def arithmetic(precision: Precision, kind: str) -> AbstractContextManager[object]:
    """How one network call computes: in bfloat16 where autocast deems that sound, or as it is.

    TF32 is a matter of the process (`tf32`), because backward passes happen outside of the call;
    in float32 the call itself does without it.
    """
    if precision == "bf16":
        return torch.autocast(kind, torch.bfloat16)
    return _plain() if precision == "float32" and kind == "cuda" else nullcontext()


@contextmanager
def _plain() -> Iterator[None]:
    before = tf32(False)
    try:
        yield
    finally:
        tf32(before)


def out_of_memory(error: BaseException) -> bool:
    """Whether a device (or the host) had no memory left, whatever library says so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def free() -> None:
    """Give back memory that torch keeps for later."""
    torch.cuda.empty_cache()  # does nothing where CUDA was never used
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _gpus() -> int:
    with warnings.catch_warnings():  # a driver that does not fit torch: there is no GPU, then
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
