"""Seconds per image of the networks of a defense, measured with random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from bench.estimate import untrained
from bench.estimate.untrained import Call, together, visit
from bench.plan.cost import Cost
from bench.spec import Part

BUDGET = 20.0
"""Seconds for one timed call: fewer images than a chunk where a chunk would take longer."""


REPEATS = 4


@dataclass(frozen=True)
class Speed:
    """Seconds per image of a forward pass and of a backward pass on top, at `images` at once."""

    forward: float
    backward: float
    images: int


def speeds(spec: str, dataset: str, device: str, chunk: int) -> dict[str, Speed]:
    """Of every network of a defense on a device, from random weights: chunks of `chunk` images.

    The least of a few calls, since a first one of a size also sets memory up; CPU seconds of this
    process on a CPU, else the clock's. Where a chunk would take longer than BUDGET, fewer images
    at once.

    Raises:
        BenchError: weights of which nobody says what network they hold.
    """
    return together(
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
    visit(part, behind, context, torch.rand(1, *context.shape, device=context.device))
    return found


def _speed(call: Call, arguments: tuple[Tensor, ...], chunk: int) -> Speed:
    def batch(images: int) -> tuple[Tensor, ...]:
        """The first image of the first argument, and what goes with it, so many times."""
        firsts = (a[:1] if a.dim() else a for a in arguments)
        return tuple(a.expand(images, *a.shape[1:]).clone() if a.dim() else a for a in firsts)

    def forward(given: tuple[Tensor, ...]) -> None:
        with torch.no_grad():
            call(*given)

    def both(given: tuple[Tensor, ...]) -> None:
        x, *more = given
        with torch.enable_grad():
            out = call(x.requires_grad_(), *more)
        if out.requires_grad:
            torch.autograd.grad(out.sum(), x)

    def least(work: Callable[[tuple[Tensor, ...]], None], images: int, times: int) -> float:
        device = arguments[0].device
        return min(clock(lambda: work(batch(images)), device) for _ in range(times))

    images = max(1, min(chunk, int(BUDGET / max(least(both, 1, 2), 1e-9))))
    there, around = least(forward, images, REPEATS), least(both, images, REPEATS)
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


def seconds(cost: Cost, found: Mapping[str, Speed]) -> float:
    """Of a cell, per image: its network calls and nothing else."""
    return sum(
        forward * found[name].forward + backward * found[name].backward
        for name, (forward, backward) in cost.networks.items()
        if name in found
    )
