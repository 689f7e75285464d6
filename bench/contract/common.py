"""What every contract is made of: a check returns what it found or raises `ContractError`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from bench import api
from bench.compute.rng import seeded
from bench.contract.asked import Check
from bench.errors import BenchError
from bench.measure import build
from bench.measure.guard import guarded
from bench.spec import coerce

IMAGES = 6


class ContractError(Exception):
    """The plug-in breaks the contract."""


def run(name: str, action: Callable[[], str]) -> Check:
    """`action` as a Check; whatever it raises is a failure of the plug-in."""
    try:
        return Check(name, True, action())
    except Exception as error:
        return Check(name, False, one_line(error))


def require(holds: bool, otherwise: str) -> None:
    """Raise ContractError(otherwise) unless it holds."""
    if not holds:
        raise ContractError(otherwise)


def close(a: Tensor, b: Tensor, what: str, tolerance: float) -> str:
    """What was compared and the gap, which must not exceed `tolerance`."""
    gap = (a - b).abs().max().item()
    require(gap <= tolerance, f"{what} differ by {gap:.3g}")
    return f"{what}: within {gap:.1e}"


def one_line(error: Exception) -> str:
    """An exception as one line."""
    text = " ".join(str(error).split())
    return (
        text if isinstance(error, ContractError | BenchError) else f"{type(error).__name__}: {text}"
    )


@contextmanager
def seeds(torch_seed: int, others: int = 0) -> Iterator[None]:
    """Torch's generator at one seed, NumPy's and Python's at another; all restored afterwards."""
    with seeded("contract", torch_seed):
        np.random.seed(others)
        random.seed(others)
        yield


def images_of(context: api.Context) -> Tensor:
    """A few validation images of the context's data set, [IMAGES,C,H,W]."""
    images: Tensor = build.dataset(context.dataset).take("validation", range(IMAGES)).x
    return images.clone().to(context.device)


def settings_typed(plugin: api.Plugin) -> str:
    """Every default is of the type that the factory declares, and there is a docstring."""
    require(bool(plugin.summary), "the factory has no docstring")
    for key, default in plugin.defaults.items():
        require(
            coerce(plugin.name, key, default, plugin.hints[key]) == default,
            f"default {key}={default} is not of its declared type",
        )
    return f"{len(plugin.defaults)} settings of declared types"


def leaves(module: nn.Module, x: Tensor) -> str:
    """What it is made of is the same after a call; what is restored by itself does not count."""
    with torch.no_grad(), guarded("it", it=module):
        module(x)
    return "nothing behind"


def same_seed(function: Callable[[], Tensor]) -> str:
    """Torch's generator is the only source of randomness."""
    with seeds(0):
        one = function()
    with seeds(0, others=1):
        two = function()
    require(torch.equal(one, two), "the same torch seed gives another result (other randomness?)")
    return "the same torch seed, the same result"
