"""Seeds that belong to the work: every stream of random numbers is named, never inherited.

A unit of work (one shard of one cell) opens `work(key)`; inside it each use of randomness opens
`stream(name, draw)`, which forks the global generators, seeds them from (key, name, draw) and
restores them afterwards. Worker count and order of work therefore change nothing; nor does the
device inside `drawn_on_cpu`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.errors import BenchError

_VALUES = ("normal", "bernoulli", "multinomial", "poisson")
FILLS = tuple(
    f"{name}_"
    for name in (
        *("normal", "uniform", "random", "exponential", "bernoulli"),
        *("cauchy", "geometric", "log_normal"),
    )
)
_LIKE = ("rand_like", "randn_like", "randint_like")
DRAWS = frozenset(("rand", "randn", "randint", "randperm", *_VALUES, *FILLS, *_LIKE))
"""torch's functions that draw from a generator; FILLS are those that fill a tensor in place."""

_WORK: ContextVar[str] = ContextVar("work", default="")
_OPEN: ContextVar[tuple[str, ...]] = ContextVar("open", default=())


def seed_of(*parts: object) -> int:
    """A 63-bit seed from the text of `parts`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Fork torch's, NumPy's and Python's generators and seed them from `parts` alone."""
    seed = seed_of(*parts)
    np_state, py_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=gpus()):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(np_state)
            random.setstate(py_state)


def standing() -> tuple[bytes, ...]:
    """Where torch's, NumPy's and Python's generators stand on the CPU."""
    _, key, place, *_ = np.random.get_state()
    numpy = np.asarray(key).tobytes() + str(place).encode()
    return torch.get_rng_state().numpy().tobytes(), numpy, repr(random.getstate()).encode()


@contextmanager
def work(key: str) -> Iterator[None]:
    """Name the unit of work that `stream` draws its seeds from."""
    token = _WORK.set(key)
    try:
        yield
    finally:
        _WORK.reset(token)


@contextmanager
def only(*names: str) -> Iterator[None]:
    """Inside, no other stream can be opened: an attack must not see what the judge will draw."""
    token = _OPEN.set(names)
    try:
        yield
    finally:
        _OPEN.reset(token)


@contextmanager
def stream(name: str, draw: int = 0) -> Iterator[None]:
    """The stream `name` (`attack`, `select` or `judge`) of the current work, draw number `draw`.

    Raises:
        BenchError: the stream is not open to whoever asks.
    """
    if name not in (_OPEN.get() or [name]):
        raise BenchError(
            f"an attack draws from the streams {', '.join(_OPEN.get())}, and not from '{name}', "
            "which is unknown to a real attacker"
        )
    with seeded(_WORK.get(), name, draw):
        yield


def gpus() -> Sequence[int]:
    """The GPUs whose generators have to be forked: none where CUDA was never used."""
    cuda: Any = torch.cuda
    return range(cuda.device_count()) if cuda.is_initialized() else ()


def drawn_on_cpu(device: torch.device) -> AbstractContextManager[object]:
    """Inside, what work on `device` draws comes from the CPU's generator and is moved there.

    A GPU's generator gives other numbers than the CPU's for the same seed, and so would every
    kind of device. Drawing costs little beside the networks that noise is drawn for.
    """
    return nullcontext() if device.type == "cpu" else _OnCpu()


class _OnCpu(TorchFunctionMode):
    """Redirects every draw for another device; those with a generator of their own are let be."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in DRAWS or kwargs.get("generator") is not None or "out" in kwargs:
            return func(*args, **kwargs)
        tensors = (a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        device = torch.device(kwargs.get("device") or next((t.device for t in tensors), "cpu"))
        if device.type == "cpu":
            return func(*args, **kwargs)
        blank = name in _LIKE or name in FILLS
        host = [_host(a, blank and place == 0) for place, a in enumerate(args)]
        named = {key: _host(a, blank and key == "input") for key, a in kwargs.items()}
        drawn = func(*host, **named | ({"device": "cpu"} if "device" in kwargs else {}))
        return args[0].copy_(drawn) if name in FILLS else drawn.to(device)


def _host(value: Any, blank: bool) -> Any:
    """A tensor on the CPU, in the same layout; blank: only its shape counts."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_like(value, device="cpu") if blank else value.detach().cpu()
