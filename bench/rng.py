"""Seeds that belong to the work: every stream of random numbers is named, never inherited.

A unit of work (one shard of one cell) opens `work(key)`; inside it each use of randomness opens
`stream(name, draw)`, which forks the global generators, seeds them from (key, name, draw) and
restores them afterwards. Worker count, order of work and devices therefore change nothing.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch

_WORK: ContextVar[str] = ContextVar("work", default="")


def seed_of(*parts: object) -> int:
    """A 63-bit seed from the text of `parts`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Fork torch's, NumPy's and Python's generators and seed them from `parts` alone."""
    seed = seed_of(*parts)
    np_state, py_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(np_state)
            random.setstate(py_state)


@contextmanager
def work(key: str) -> Iterator[None]:
    """Name the unit of work that `stream` draws its seeds from."""
    token = _WORK.set(key)
    try:
        yield
    finally:
        _WORK.reset(token)


@contextmanager
def stream(name: str, draw: int = 0) -> Iterator[None]:
    """The stream `name` (`attack`, `select` or `judge`) of the current work, draw number `draw`."""
    with seeded(_WORK.get(), name, draw):
        yield
