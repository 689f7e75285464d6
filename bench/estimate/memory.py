"""Bytes that networks need, by network of a defense; counted, not measured.

The bytes of all parameters, and of all tensors that are alive at the peak of one call on one image.
The call is made once with zeros for weights; where images are large, on the device `meta`, where
shapes are computed and nothing else. Libraries add their workspaces to it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.estimate import untrained
from bench.estimate.untrained import META, Call, together, visit
from bench.plan.cost import Cost
from bench.spec import Part

LARGE = 3 * 64 * 64
"""Numbers in an image above which its networks are asked for shapes alone: loading what computes
shapes takes seconds, and so does computing."""


_SEEN: dict[tuple[Any, ...], tuple[tuple[int, ...], int]] = {}
"""By class, size and shape of the call: the shape of the answer and the peak."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one network: its parameters, and per image the peak of a call.

    forward: of a forward pass alone. both: with the backward pass on top, where one was asked for.
    """

    parameters: int
    forward: int
    both: int


def footprints(spec: str, dataset: str, backward: frozenset[str]) -> dict[str, Footprint]:
    """Of every network of a defense, by the name under which it counts its calls.

    backward: the networks that are asked for gradients. A call of its own that takes more than
    images (greedy decoding in a window) is taken at one evaluation of its network.

    Raises:
        BenchError: weights of which nobody says what network they hold.
    """
    return together(
        spec, dataset, lambda part, behind: _footprints(part, behind, dataset, backward)
    )


@cache
def _footprints(
    part: Part | None, behind: Part, dataset: str, backward: frozenset[str]
) -> Mapping[str, Footprint]:
    found: dict[str, Footprint] = {}

    def watch(name: str, module: nn.Module, call: Call, arguments: tuple[Tensor, ...]) -> Tensor:
        size = sum(p.nbytes for p in (*module.parameters(), *module.buffers()))
        moved = tuple(argument.detach().to(context.device) for argument in arguments)

        def peak(graph: bool) -> tuple[tuple[int, ...], int]:
            key = (type(module), size, graph, *(tuple(a.shape) for a in moved))
            if key not in _SEEN:
                _SEEN[key] = _peak(module, call, moved, graph)
            return _SEEN[key]

        shape, forward = peak(graph=False)
        found[name] = Footprint(size, forward, peak(graph=True)[1] if name in backward else 0)
        return torch.zeros(shape, device=META)

    context = untrained.context(dataset, "cpu", watch, "zeros")
    if math.prod(context.shape) > LARGE:
        context = untrained.context(dataset, META, watch, "shapes")
    visit(part, behind, context, torch.rand(1, *context.shape))
    return found


def _peak(
    module: nn.Module, call: Call, arguments: tuple[Tensor, ...], graph: bool
) -> tuple[tuple[int, ...], int]:
    """The shape of the answer, and the most bytes alive on the way to it (graph: and back)."""
    with torch.inference_mode(False), torch.set_grad_enabled(graph), Peak() as peak:
        x, *more = (argument.clone() for argument in arguments)
        if more and call is not module:
            module(x)
            return tuple(x.shape), peak.most
        out = call(x.requires_grad_(graph), *more)
        if out.requires_grad:
            torch.autograd.grad(out.sum(), x)
    return tuple(out.shape), peak.most


def memory(cost: Cost, found: Mapping[str, Footprint], chunk: int) -> int:
    """Bytes of a cell: all parameters, and the largest peak of any network at `chunk` images.

    What an attack keeps besides (states between steps, noise, EOT replicates) is a few images each
    and not in it; gradients of gradients (exact attacks on ScoreOpt and on smooth energies) take
    more than the peak of one backward pass.
    """
    peaks = [
        found[name].both if backward else found[name].forward
        for name, (_, backward) in cost.networks.items()
        if name in found
    ]
    return sum(f.parameters for f in found.values()) + chunk * max(peaks, default=0)


class Peak(TorchDispatchMode):
    """Counts the bytes of the storages that are made inside; `most`: alive at one time."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.live = self.most = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and to say so torch would load its compiler: seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._enter((args, kwargs), new=False)
        out = func(*args, **(kwargs or {}))
        self._enter(out, new=True)
        return out

    def _enter(self, tree: Any, new: bool) -> None:
        """What comes in was made outside, unless it is known; what comes out may be a view."""
        for leaf in tree_leaves(tree):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._known:
                    self._keep(storage, storage.nbytes() if new else 0)

    def _keep(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata

        def leave(_: weakref.ref[torch.UntypedStorage]) -> None:
            del self._known[key]
            self.live -= size

        self._known[key] = weakref.ref(storage, leave)
        self.live += size
        self.most = max(self.most, self.live)
