"""What a plug-in leaves behind on objects that others use after it: put back, or said.

A shard finds the defense, the attack and the process as they were built, whatever ran before it.
Attributes, modes, hooks, lists and generators are put back as they were. Of the numbers in tensors
and arrays only a digest is kept: where those were changed, whoever changed them has no result.
"""

from __future__ import annotations

import random
import sys
import types
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api.purifier import Defense
from bench.api.register import PLUGINS
from bench.compute.network import Network, stay_small
from bench.compute.surroundings import Surroundings
from bench.errors import BenchError

SILENT = ("", "_call", "_modules", "_parameters", "_buffers")
"""Steps of a path that say nothing to its reader."""
HOOKS = [
    hooks
    for name, hooks in vars(torch.nn.modules.module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
]
"""Of every network of the process."""
COUNTS = ("forwards", "backwards")
"""Of a network: they go on counting."""


class Kept:
    """Some objects and all that they hold, as they are now."""

    def __init__(self, **roots: Any) -> None:
        """Look at them, each under the name that a message gives it."""
        self._seen: dict[int, Any] = {}
        self._restorers: list[Callable[[], None]] = []
        self._numbers: list[tuple[str, Any, object]] = []
        self._plugins = {p.factory.__module__ for kind in PLUGINS.values() for p in kind.values()}
        self._waiting = deque(roots.items())
        while self._waiting:
            path, value = self._waiting.popleft()
            if id(value) not in self._seen:
                self._seen[id(value)] = value  # alive, so that no other takes its id
                self._look(path, value)

    def put_back(self) -> list[str]:
        """Everything as it was, but for the tensors and arrays returned, whose numbers changed."""
        for restore in self._restorers:
            restore()
        return [path for path, value, before in self._numbers if digest(value) != before]

    def _look(self, path: str, value: Any) -> None:
        if isinstance(value, Tensor):
            self._numbers.append((path, value, digest(value)))
            self._restorers.append(partial(_settle, value, value.requires_grad, _grad(value)))
        elif isinstance(value, np.ndarray):
            self._numbers.append((path, value, digest(value)))
        elif isinstance(value, dict):
            self._hold(path, value)
        elif isinstance(value, list | deque):
            self._restorers.append(partial(_refill, value, list(value)))
            self._inside(path, enumerate(value))
        elif isinstance(value, set):
            self._restorers.append(partial(_reset, value, set(value)))
        elif isinstance(value, tuple):
            self._inside(path, enumerate(value))
        elif isinstance(value, partial):
            self._inside(path, [("func", value.func), ("args", value.args), ("kw", value.keywords)])
        elif isinstance(value, types.MethodType):
            self._inside(path, [("", value.__self__), ("", value.__func__)])
        elif isinstance(value, types.FunctionType):
            self._function(path, value)
        elif isinstance(value, type):
            self._class(path, value)
        elif (state := _generator(value)) is not None:
            self._restorers.append(state)
        elif self._open(value):
            self._object(path, value)

    def _inside(self, path: str, items: Any) -> None:
        for name, item in items:
            self._waiting.append((path if name in SILENT else f"{path}.{name}", item))

    def _hold(self, path: str, values: dict[Any, Any], free: tuple[str, ...] = ()) -> None:
        before = {key: value for key, value in values.items() if key not in free}
        self._restorers.append(partial(_rewrite, values, before, free))
        self._inside(path, before.items())

    def _open(self, value: Any) -> bool:
        """Objects of the harness, of plug-ins and networks; a library's own stay closed."""
        kind = type(value)
        return hasattr(value, "__dict__") and (
            isinstance(value, nn.Module | Defense)
            or is_dataclass(kind)
            or kind.__module__ in self._plugins
        )

    def _object(self, path: str, value: Any) -> None:
        self._hold(path, vars(value), COUNTS if isinstance(value, Network) else ())
        self._inside(path, [("", type(value))])

    def _class(self, path: str, value: type) -> None:
        own = value.__module__ in self._plugins
        if own or issubclass(value, nn.Module):
            before = {name: item for name, item in vars(value).items() if _plain(name)}
            self._restorers.append(partial(_repair, value, before))
            self._inside(path, [("", base) for base in value.__bases__])
            if own:
                self._inside(path, before.items())
                self._module(value.__module__)

    def _function(self, path: str, value: types.FunctionType) -> None:
        for cell in value.__closure__ or ():
            try:
                inside = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            self._restorers.append(partial(setattr, cell, "cell_contents", inside))
            self._inside(path, [("", inside)])
        self._inside(path, [("", value.__defaults__), ("", value.__kwdefaults__)])
        if value.__module__ in self._plugins:
            self._module(value.__module__)

    def _module(self, name: str) -> None:
        """What the file of a plug-in keeps at its top."""
        module = sys.modules.get(name)
        if module is None or id(module) in self._seen:
            return
        self._seen[id(module)] = module
        before = {key: value for key, value in vars(module).items() if _plain(key)}
        self._restorers.append(partial(_repair, module, before))
        own = (dict, list, set, tuple, Tensor, np.ndarray, nn.Module)
        for key, value in before.items():
            if isinstance(value, own) or getattr(value, "__module__", None) == name:
                self._waiting.append((f"{name}.{key}", value))


@contextmanager
def guarded(who: str, **shared: Any) -> Iterator[None]:
    """What runs inside leaves the process and the `shared` objects as they were.

    Raises:
        BenchError: it wrote into their tensors; `who` is to blame.
    """
    around, kept = Surroundings(), Kept(**shared, hooks=HOOKS)
    lost: list[str] = []
    try:
        yield
    finally:
        around.put_back()
        lost = kept.put_back()
        stay_small()
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise BenchError(
            f"{who} wrote into {lost[0]}{more}, which others use after it; "
            "work on a copy (x.clone(), copy.deepcopy)"
        )


def digest(numbers: Tensor | np.ndarray[Any, Any]) -> object:
    """What two tensors or arrays with other numbers do not share, and equal ones do; cheap."""
    if isinstance(numbers, np.ndarray):
        plain = None if numbers.dtype.hasobject else np.ascontiguousarray(numbers)
        crc = zlib.crc32(plain.tobytes()) if plain is not None else 0
        return numbers.shape, str(numbers.dtype), crc
    told = tuple(numbers.shape), numbers.dtype, numbers.device
    if numbers.layout != torch.strided or numbers.device.type == "meta":
        return told
    with torch.no_grad():
        storage = numbers.untyped_storage()
        whole = torch.empty(0, dtype=torch.uint8, device=numbers.device).set_(storage)
        if numbers.device.type == "cpu":
            return *told, numbers.stride(), zlib.crc32(whole.numpy().data) if len(whole) else 0
        words = whole[: len(whole) // 4 * 4].view(torch.int32)
        sums = [int(words[::every].sum(dtype=torch.int64)) for every in (1, 2, 3)]
        return *told, numbers.stride(), *sums


def _plain(name: str) -> bool:
    return not name.startswith("__")


def _grad(value: Tensor) -> Tensor | None:
    return value.grad if value.is_leaf else None


def _settle(value: Tensor, requires: bool, grad: Tensor | None) -> None:
    if value.is_leaf:
        if value.requires_grad != requires:
            value.requires_grad_(requires)
        if value.grad is not grad:
            value.grad = grad


def _same(now: Any, before: Any) -> bool:
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _refill(values: list[Any] | deque[Any], before: list[Any]) -> None:
    if not _same(values, before):
        values.clear()
        values.extend(before)


def _reset(values: set[Any], before: set[Any]) -> None:
    if values != before:
        values.clear()
        values.update(before)


def _rewrite(values: dict[Any, Any], before: dict[Any, Any], free: tuple[str, ...]) -> None:
    now = {key: value for key, value in values.items() if key not in free} if free else values
    if not (_same(now, before) and _same(now.values(), before.values())):
        counted = {key: values[key] for key in free if key in values}
        values.clear()
        values.update(before | counted)


def _repair(owner: Any, before: dict[str, Any]) -> None:
    for name in [name for name in vars(owner) if _plain(name) and name not in before]:
        delattr(owner, name)
    for name, value in before.items():
        if vars(owner).get(name, owner) is not value:
            setattr(owner, name, value)


def _rewind(source: torch.Generator, state: Tensor) -> None:
    source.set_state(state)


def _generator(value: Any) -> Callable[[], None] | None:
    """How to bring a source of random numbers back to where it is now."""
    if isinstance(value, torch.Generator):
        return partial(_rewind, value, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        source, now = value.bit_generator, value.bit_generator.state
        return lambda: setattr(source, "state", now)
    return None
