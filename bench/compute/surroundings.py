"""What all code of a process shares: torch's modes and switches, the directory, the harness itself.

A plug-in may change it while it is imported, built or run. What it leaves is put back.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bench.compute.network import stay_small

PACKAGES = ("bench", "attacks", "defenses")
"""Whose functions, classes and constants stay as they are."""
LIBRARIES: tuple[Any, ...] = (builtins, random, np, torch, F, torch.Tensor, nn.Module)
DENORMAL = 1e-40

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]


def _flushes() -> bool:
    return float(torch.full((1,), DENORMAL, dtype=torch.float32) * 1) == 0


def _attribute(owner: Any, name: str) -> Switch:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _leave_inference(wanted: bool) -> None:
    """Whoever entered it holds the way out: an ordinary mode goes on top, for good."""
    _ON_TOP.append(torch.inference_mode(wanted))
    _ON_TOP[-1].__enter__()


_ON_TOP: list[Any] = []


def _default_device() -> Any:
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


SWITCHES: tuple[Switch, ...] = (
    (_default_device, lambda before: torch.set_default_device(before and before.device)),
    (torch.is_inference_mode_enabled, _leave_inference),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda now: torch.use_deterministic_algorithms(now[0], warn_only=now[1]),
    ),
    (lambda: torch.is_autocast_enabled("cpu"), lambda now: torch.set_autocast_enabled("cpu", now)),
    (
        lambda: torch.is_autocast_enabled("cuda"),
        lambda now: torch.set_autocast_enabled("cuda", now),
    ),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(
        _attribute(torch.backends.cudnn, name)
        for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
    ),
    _attribute(torch.backends.cuda.matmul, "allow_tf32"),
    _attribute(torch.backends.mkldnn, "enabled"),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (_flushes, torch.set_flush_denormal),
    (np.geterr, lambda now: np.seterr(**now)),
    (os.getcwd, os.chdir),
)


class Surroundings:
    """All of it, as it is now."""

    def __init__(self) -> None:
        """Look at it, and hold what is needed to put it back."""
        self._switches = [(read, write, read()) for read, write in SWITCHES]
        self._environment = dict(os.environ)
        self._context = copy_context()
        self._modes = torch._C._len_torch_function_stack()
        self._dispatch = torch._C._len_torch_dispatch_stack()
        self._names = [(owner, dict(_names(owner))) for owner in _owners()]

    def put_back(self, *, environment: bool = True) -> None:
        """Everything that is otherwise now; the environment only where that is asked for."""
        for owner, names in self._names:
            _restore(owner, names)
        if environment and dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        for variable, value in self._context.items():
            if variable.get() is not value:
                variable.set(value)
        for read, write, before in self._switches:
            if _now(read) != before:
                write(before)
        while torch._C._len_torch_dispatch_stack() > self._dispatch:
            torch._C._pop_torch_dispatch_stack(None)
        while torch._C._len_torch_function_stack() > self._modes:
            torch._C._pop_torch_function_stack()


@contextmanager
def as_before() -> Iterator[None]:
    """What is imported or built inside leaves the process as it was, but for the environment.

    That is where a library's folders are set for later.
    """
    around = Surroundings()
    try:
        yield
    finally:
        around.put_back(environment=False)
        stay_small()


def _now(read: Callable[[], Any]) -> Any:
    """What a switch says; a directory that was removed says nothing."""
    try:
        return read()
    except OSError:
        return None


def _owners() -> Iterator[Any]:
    """The modules of the harness with their classes, and the libraries."""
    yield from LIBRARIES
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and isinstance(module, ModuleType):
            yield module
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == name:
                    yield value


def _names(owner: Any) -> Iterator[tuple[str, Any]]:
    """The names of a module or class that stay; what Python keeps there for itself does not."""
    for name, value in list(vars(owner).items()):
        stays = callable(value) or name.isupper() or (isinstance(owner, type) and name[:2] != "__")
        if stays:
            yield name, value


def _restore(owner: Any, names: Mapping[str, Any]) -> None:
    now = vars(owner)
    for name, value in names.items():
        if now.get(name, owner) is not value:
            setattr(owner, name, value)
    if isinstance(owner, type):
        ours = owner.__module__.partition(".")[0] in PACKAGES
        for name in [name for name, _ in _names(owner) if name not in names]:
            # A library may add a name of its own later; one that hides an inherited one is not it.
            if ours or any(hasattr(base, name) for base in owner.__bases__):
                delattr(owner, name)
