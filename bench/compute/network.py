"""The only door to a neural network: chunks, counts, precision, memory.

Nothing random happens behind it, so how a batch is split moves no random number, unless a network
says that it is random.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.compute import device
from bench.compute.names import Precision, chunk
from bench.errors import BenchError

T = TypeVar("T")
RANDOM = 32
"""Images that a random network sees at a time: another split would draw other numbers."""


class Network(nn.Module):
    """A frozen network that is called in chunks of images and counts what it was asked.

    `forwards` and `backwards` count images, not calls. Tensor arguments with a batch dimension
    are split like the first one.

    Of all networks of the process: `chunk`, images per call; `precision`, how they compute;
    `lean`: they keep no activations for a backward pass but compute them again, uncounted.
    """

    chunk = 32
    precision: ClassVar[Precision] = "float32"
    lean = False
    alive: ClassVar[WeakSet[Network]] = WeakSet()

    def __init__(
        self,
        module: nn.Module,
        name: str,
        call: Callable[..., Tensor] | None = None,
        *,
        exact: bool = False,
        random: bool = False,
    ) -> None:
        """Wrap `module` (its method `call` when given), freeze it and put it in eval mode.

        exact: answers are always computed in float32, whatever precision is asked for. random: it
        draws, and so it sees `RANDOM` images at a time, whatever the chunk.
        """
        super().__init__()
        # The faster layout of convolutions on every device, always: one definition, one rounding.
        self.module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name, self.exact, self.random = name, exact, random
        self.forwards = 0
        self.backwards = 0
        self._call = call or module
        self.eval()
        Network.alive.add(self)

    def train(self, mode: bool = True) -> Network:
        """Nothing: a frozen network has no training mode, whatever a library asks for."""
        return super().train(mode=False)

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        """The network's output for all of `x` [B,...].

        Raises:
            BenchError: the network gave NaN or infinity, or one image is too much for the memory.
        """

        def one(rows: slice) -> Tensor:
            rest = (a[rows] if a.dim() and len(a) == len(x) else a for a in args)
            return self._one(x[rows], *rest)

        graph = torch.is_grad_enabled() and any(a.requires_grad for a in (x, *args))
        outputs = by_chunks(len(x), one, graph=graph, most=RANDOM if self.random else 0)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def apart(self, name: str) -> Network:
        """The same network under another name, with counts of its own."""
        return Network(self.module, name, self._call, exact=self.exact, random=self.random)

    def _one(self, x: Tensor, *args: Tensor) -> Tensor:
        layout = torch.channels_last if x.dim() == 4 else torch.preserve_format
        # Copies: what a network writes into its arguments, nobody else reads.
        x, args = x.clone(memory_format=layout), tuple(a.clone() for a in args)
        with device.arithmetic("float32" if self.exact else Network.precision, x.device.type):
            out: Any = self._answer(x, *args)
        if not out.dim() or len(out) != len(x):
            raise BenchError(f"network '{self.name}' gave {tuple(out.shape)} for {len(x)} images")
        out = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
        if not finite(out):
            raise BenchError(f"network '{self.name}' gave NaN or infinite values")
        self.forwards += len(x)
        if out.requires_grad:
            out.register_hook(self._count)
        return plain(out)

    def _answer(self, x: Tensor, *args: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            with torch.inference_mode():
                out = self._call(x, *args)
            return out.clone()  # an ordinary tensor again, which later steps may differentiate
        if Network.lean:
            again: Tensor = checkpoint(
                self._call, x, *args, use_reentrant=False, preserve_rng_state=self.random
            )
            return again
        return self._call(x, *args)

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def finite(x: Tensor) -> bool:
    """Whether no number of x is NaN or infinite: none is where their sum is neither.

    A sum is many times cheaper than to ask each; only where it overflows, each is asked.
    """
    with torch.no_grad():
        return math.isfinite(float(x.sum())) or bool(torch.isfinite(x).all())


def plain(x: Tensor) -> Tensor:
    """The same numbers without a class of their own, which might compare as it likes."""
    if type(x) is Tensor:
        return x
    with torch._C.DisableTorchFunctionSubclass():
        return x.view_as(x)


def by_chunks(
    count: int, work: Callable[[slice], T], *, graph: bool = False, most: int = 0
) -> list[T]:
    """`work` on consecutive rows of `count` images, at most `Network.chunk` of them at a time.

    most: or at most so many.

    Where memory runs out, the chunk is halved for the rest of the shard and the rows are done
    again, as if the first time had not been. graph: `work` returns what holds its graph, so that
    halves would need as much; whoever consumes the graph has to repeat, and the error is passed on.

    Raises:
        BenchError: one image is too much.
    """
    done: list[T] = []
    start = 0
    while start < count or not done:
        rows = slice(start, min(start + min(Network.chunk, most or count), count))
        before = [(net, net.forwards, net.backwards) for net in Network.alive]
        try:
            done.append(work(rows))
            start = rows.stop
            continue
        except Exception as error:
            if graph or not device.out_of_memory(error):
                raise
        for net, forwards, backwards in before:
            net.forwards, net.backwards = forwards, backwards
        shrink(rows.stop - rows.start)
    return done


def shrink(images: int) -> None:
    """After `images` were too many for one call: half as many, a multiple of 32 if it can be.

    Raises:
        BenchError: one image was too much.
    """
    half = (images // 64 * 32 or 32) if images > 32 else (1 << (images - 1).bit_length()) // 2
    if half < 1:
        raise BenchError("out of memory even with one image per network call")
    Network.chunk = half
    _allowed[:] = [half]
    gc.collect()
    device.free()


def stay_small() -> None:
    """No larger chunk than memory allowed, if it ran out since `start_large`."""
    Network.chunk = min([Network.chunk, *_allowed])


def start_large(images: int) -> None:
    """Network calls of `images` images until memory runs out."""
    _allowed.clear()
    Network.chunk = images


_allowed: list[int] = []
"""The chunk that memory allowed the last time it ran out."""


@contextmanager
def chunk_size(images: int) -> Iterator[None]:
    """Network calls of at most `images` images inside the block.

    Raises:
        BenchError: not a positive multiple of 32 (a shard).
    """
    before, Network.chunk = Network.chunk, chunk("cpu", images)
    try:
        yield
    finally:
        Network.chunk = before


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Networks compute in `precision` inside the block, exact ones in float32."""
    before, Network.precision = Network.precision, precision
    allowed = device.tf32(precision == "tf32")
    try:
        yield
    finally:
        Network.precision = before
        device.tf32(allowed)
