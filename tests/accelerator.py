"""An accelerator that every machine has: the CPU's arithmetic behind a device of its own.

It calls itself `meta`, the one device besides the CPU that autograd serves without hardware. It is
as strict as a GPU: tensors of two devices do not mix, numbers leave it only by `.cpu()` and the
like, its generator gives other ones than the CPU's, and its memory may be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bench.compute import device
from bench.compute.network import Network
from bench.measure import build

NAME = "meta"
MOVES = ("_to_copy", "copy_")
MIXES = (*MOVES, "index", "index_put_", "index_put", "_index_put_impl_")
"""Operations that take tensors of two devices (indices may come from the CPU)."""
RANDOM = ("rand", "normal", "uniform", "bernoulli", "exponential", "multinomial", "poisson")
LARGE = ("conv2d", "convolution", "convolution_backward")


def _there(cls: type, inner: Tensor) -> Any:
    make: Any = torch.Tensor._make_wrapper_subclass
    made = make(
        cls,
        inner.size(),
        strides=inner.stride(),
        storage_offset=inner.storage_offset(),
        dtype=inner.dtype,
        device=NAME,
    )
    made.numbers = inner
    return made


def _stray(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    raise AssertionError(f"{func} outside of the accelerator")


There: Any = type(
    "There", (Tensor,), {"__new__": _there, "__torch_dispatch__": classmethod(_stray)}
)
"""A tensor of the accelerator, whose `numbers` are on the CPU."""


class Accelerator:
    """Does on the CPU what was asked of the device.

    images: how many of them fit a convolution. refused: how often more came.
    """

    def __init__(self, images: int | None = None) -> None:
        self.images, self.refused = images, 0
        self._state = torch.Generator().manual_seed(1234).get_state()

    def mode(self) -> Any:
        """Inside, every operation comes here."""

        def dispatch(_: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return self.dispatch(func, args, dict(kwargs or {}))

        made: Any = type("Mode", (TorchDispatchMode,), {})
        made.__torch_dispatch__ = dispatch  # set later, it does not import all of dynamo
        return made()

    def dispatch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation; on the CPU as it is, on the device behind its checks."""
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [isinstance(t, There) for t in tensors]
        assert all(
            is_there or t.device.type == "cpu" for t, is_there in zip(tensors, there, strict=True)
        ), name
        if any(there) and name not in MIXES:
            strangers = [t for t, is_there in zip(tensors, there, strict=True) if not is_there]
            assert not any(t.dim() for t in strangers), f"{name}: tensors of two devices"
        wanted = kwargs.get("device")
        target = there[:1] if name in MOVES else there
        inside = torch.device(wanted).type == NAME if wanted else any(target)
        plain, named = tree_map(_numbers, args), tree_map(_numbers, kwargs)
        if not inside:
            return func(*plain, **named)
        if self.images is not None and name in LARGE and len(tensors[0]) > self.images:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if wanted:
            named["device"] = torch.device("cpu")
        out = self._compute(name, func, plain, named)
        return args[0] if name.endswith("_") else tree_map(_on_device, out)

    def _compute(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if not any(word in name for word in RANDOM):
            return func(*args, **kwargs)
        before = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            return func(*args, **kwargs)
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(before)


class _Doors(TorchFunctionMode):
    """What dispatch does not see: `torch.tensor(1, device=...)` in and `.tolist()` out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and "device" in kwargs:
            where = kwargs.pop("device")
            made = args[0] if isinstance(args[0], Tensor) else func(*args, **kwargs)
            return made.to(where)
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


def _numbers(value: Any) -> Any:
    return value.numbers if isinstance(value, There) else value


def _on_device(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    with torch.inference_mode(False):  # a view of an ordinary tensor is one, in inference mode too
        return There(value)


@contextmanager
def installed(patch: pytest.MonkeyPatch, images: int | None = None) -> Iterator[Accelerator]:
    """Inside, `bench` finds the accelerator among the devices of this machine."""
    accelerator = Accelerator(images)
    with patch.context() as patched:
        patched.setattr(device, "available", lambda: {"cpu": "cpu", NAME: "meta test"})
        try:
            with accelerator.mode(), _Doors():
                yield accelerator
        finally:
            build.forget()
            Network.chunk, Network.lean = 32, False
