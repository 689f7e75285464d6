"""What networks need: bytes of memory and seconds per image, by network of a defense.

Memory is counted, not measured: the bytes of all parameters, and of all tensors that are alive at
the peak of one call on one image. The call is made once with zeros for weights; where images are
large, on the device `meta`, where shapes are computed and nothing else. Libraries add their
workspaces to it. Time is measured on networks of random weights (bench/estimate/untrained.py).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from attacks.gradients import Bpda, Exact
from bench import api
from bench.api import OWNER
from bench.api.purifier import CLASSIFIER
from bench.estimate import untrained
from bench.estimate.peak import Peak
from bench.estimate.untrained import META, Call, StandIns
from bench.plan.cost import Cost
from bench.spec import DEFAULT_CLASSIFIER, Part, parse_defense

T = TypeVar("T")

BUDGET = 20.0
"""Seconds for one timed call: fewer images than a chunk where a chunk would take longer."""
REPEATS = 2
LARGE = 3 * 64 * 64
"""Numbers in an image above which its networks are asked for shapes alone: loading what computes
shapes takes seconds, and so does computing."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one network: its parameters, and per image the peak of a call.

    forward: of a forward pass alone. both: with the backward pass on top, where one was asked for.
    """

    parameters: int
    forward: int
    both: int


@dataclass(frozen=True)
class Speed:
    """Seconds per image of a forward pass and of a backward pass on top, at `images` at once."""

    forward: float
    backward: float
    images: int


def footprints(spec: str, dataset: str, backward: frozenset[str]) -> dict[str, Footprint]:
    """Of every network of a defense, by the name under which it counts its calls.

    backward: the networks that are asked for gradients. A call of its own that takes more than
    images (greedy decoding in a window) is taken at one evaluation of its network.

    Raises:
        BenchError: weights of which nobody says what network they hold.
    """
    return _together(
        spec, dataset, lambda part, behind: _footprints(part, behind, dataset, backward)
    )


def _together(
    spec: str, dataset: str, measure: Callable[[Part | None, Part], Mapping[str, T]]
) -> dict[str, T]:
    """What `measure(part, classifier)` finds of every part of a defense and of its classifier.

    A part whose weights are not the classifier's own is measured in front of the default one, so
    that it is measured once. None stands for the classifier alone.
    """
    parsed, default = parse_defense(spec), Part(DEFAULT_CLASSIFIER)
    found: dict[str, T] = {}
    for typed in parsed.parts:
        plugin = api.find_defense(typed.name)
        part = plugin.resolve(typed, dataset)
        if untrained.calls_networks(part, dataset):
            own = any(OWNER in name for name in plugin.weights(dict(part.settings)))
            found |= measure(part, parsed.classifier if own else default)
    return found | dict(measure(None, parsed.classifier))


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
    _visit(part, behind, context, torch.rand(1, *context.shape))
    return found


_SEEN: dict[tuple[Any, ...], tuple[tuple[int, ...], int]] = {}
"""By class, size and shape of the call: the shape of the answer and the peak."""


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


def speeds(spec: str, dataset: str, device: str, chunk: int) -> dict[str, Speed]:
    """Of every network of a defense on a device, from random weights: chunks of `chunk` images.

    One call to warm up, then the mean of a few; CPU seconds of this process on a CPU, else the
    clock's. Where a chunk would take longer than BUDGET, fewer images at once.

    Raises:
        BenchError: weights of which nobody says what network they hold.
    """
    return _together(
        spec, dataset, lambda part, behind: _speeds(part, behind, dataset, device, chunk)
    )


@cache
def _speeds(
    part: Part | None, behind: Part, dataset: str, device: str, chunk: int
) -> Mapping[str, Speed]:
    found: dict[str, Speed] = {}

    def watch(name: str, module: nn.Module, call: Call, arguments: tuple[Tensor, ...]) -> Tensor:
        with torch.inference_mode(False):
            given = tuple(argument.detach().clone() for argument in arguments)
            found[name] = _speed(call, given, chunk)
            with torch.no_grad():
                return call(*given)

    context = untrained.context(dataset, device, watch)
    _visit(part, behind, context, torch.rand(1, *context.shape, device=context.device))
    return found


def _speed(call: Call, arguments: tuple[Tensor, ...], chunk: int) -> Speed:
    def batch(images: int) -> tuple[Tensor, ...]:
        """The one image of the first argument, and what goes with it, so many times."""
        return tuple(a.expand(images, *a.shape[1:]).clone() if a.dim() else a for a in arguments)

    def forward(given: tuple[Tensor, ...]) -> None:
        with torch.no_grad():
            call(*given)

    def both(given: tuple[Tensor, ...]) -> None:
        x, *more = given
        with torch.enable_grad():
            out = call(x.requires_grad_(), *more)
        if out.requires_grad:
            torch.autograd.grad(out.sum(), x)

    def mean(work: Callable[[tuple[Tensor, ...]], None], images: int, times: int) -> float:
        device = arguments[0].device
        return statistics.mean(clock(lambda: work(batch(images)), device) for _ in range(times))

    mean(both, 1, 1)
    images = max(1, min(chunk, int(BUDGET / max(mean(both, 1, 1), 1e-9))))
    there, around = mean(forward, images, REPEATS), mean(both, images, REPEATS)
    return Speed(there / images, max(around - there, 0.0) / images, images)


SYNCHRONIZE: Mapping[str, Callable[[], object]] = {
    "cuda": torch.cuda.synchronize,
    "mps": torch.mps.synchronize,
}


def clock(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds of this process where that is what computes, else seconds until it is done."""
    now = time.process_time if device.type == "cpu" else time.perf_counter
    done = SYNCHRONIZE.get(device.type, lambda: None)
    done()
    began = now()
    work()
    done()
    return now() - began


def whole(
    spec: str, dataset: str, device: str, images: int, chunk: int
) -> dict[str, dict[str, float]]:
    """Seconds and bytes per image: networks, a purification, one bpda-eot and one exact step.

    A step is the gradient of one draw at a time on `images` images. The exact one is that of the
    defense itself, where it has one. bytes: of networks, the parameters and the peak of one call on
    one image as in `footprints`; of the rest, the same peak, counted while it computes.
    """
    names = {CLASSIFIER}
    for part in parse_defense(spec).parts:
        plugin = api.find_defense(part.name)
        names |= {*plugin.calls(dict(plugin.resolve(part, dataset).settings))}
    sizes = footprints(spec, dataset, frozenset(names))
    rows: dict[str, dict[str, float]] = {}
    for name, speed in speeds(spec, dataset, device, chunk).items():
        size = sizes[name].parameters
        rows[f"{name}, forward"] = _row(speed.forward, size + sizes[name].forward, speed.images)
        both = speed.forward + speed.backward
        rows[f"{name}, with backward"] = _row(both, size + sizes[name].both, speed.images)
    context = untrained.context(dataset, device)
    defense = untrained.defense(spec, context)
    parameters = sum(f.parameters for f in sizes.values())
    x = torch.rand(images, *context.shape, device=context.device)
    y = torch.zeros(images, dtype=torch.long, device=context.device)
    work: dict[str, Callable[[], object]] = {
        "one purification": torch.no_grad()(lambda: defense.purify(x)),
        "bpda-eot, a step of one draw": lambda: Bpda()(defense, x, y),
    }
    if defense.exact:
        work["exact, a step of one draw"] = lambda: Exact()(defense, x, y)
    for name, unit in work.items():
        with Peak() as peak:  # which also warms up: its own overhead is not in the time
            unit()
        spent = clock(unit, context.device)
        rows[name] = _row(spent / images, parameters + peak.most // images, images)
    return rows


def _row(seconds: float, size: float, images: int) -> dict[str, float]:
    return {"seconds": seconds, "bytes": size, "images": images}


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


def seconds(cost: Cost, found: Mapping[str, Speed]) -> float:
    """Of a cell, per image: its network calls and nothing else."""
    return sum(
        forward * found[name].forward + backward * found[name].backward
        for name, (forward, backward) in cost.networks.items()
        if name in found
    )


def _visit(part: Part | None, behind: Part, context: StandIns, x: Tensor) -> None:
    """Have a purifier's networks, or the classifier's, called."""
    with torch.no_grad(), suppress(untrained.Enough):
        if part is None:
            untrained.classifier(behind, context)(x)
        else:
            untrained.purifier(part, behind, context)(x)
