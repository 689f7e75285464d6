"""Harness over network time: a shard attacked and judged, against the same calls asked alone.

    .venv/bin/python -m tests.benchmarks.overhead adp bpda-eot
    .venv/bin/python -m tests.benchmarks.overhead none@madry square --preset standard

The calls of a run are written down by network, images and direction, and asked again of the bare
networks: the same batches, random images. Both in CPU seconds of one thread, the least of several.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bench.api.ball import ThreatModel
from bench.compute.network import Network
from bench.measure import build
from bench.measure.judge import evaluate
from bench.measure.shard import ShardWork, begun
from bench.plan.plan import draws_of, make
from bench.plan.request import Request
from bench.results.store import Cell

Asked = Counter[tuple[Network, tuple[int, ...], bool]]
"""(network, shape of the images, whether a gradient was wanted) -> how often."""
Answer = Callable[..., Tensor]


def least(work: Callable[[], object], times: int) -> float:
    """CPU seconds of the fastest of several times."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def one_shard(
    defense: str, attack: str, dataset: str, preset: str
) -> tuple[ShardWork, Cell, Callable[[], object]]:
    """The first shard of a cell: warm, its cell, and what attacks and judges it."""
    asked = Request([defense], [attack], dataset, preset=preset, images=32, controls=[])
    cell = make(asked)[0].cells[0].cell
    work = begun(cell, 0, build.context(dataset))
    draws = draws_of(dataset, cell.defense, cell.threat)
    threat = ThreatModel.parse(cell.threat)
    given = (work.defense, work.attack, work.shard.x, work.shard.y, threat)
    return work, cell, partial(evaluate, *given, draws=draws, key=work.key)


def written_down(work: Callable[[], object]) -> Asked:
    """The calls of networks in `work`."""
    asked: Asked = Counter()
    answer: Answer = Network._answer

    def listening(net: Network, x: Tensor, *more: Tensor) -> Tensor:
        asked[net, tuple(x.shape), torch.is_grad_enabled() and x.requires_grad] += 1
        return answer(net, x, *more)

    with mock.patch.object(Network, "_answer", listening):
        work()
    return asked


def alone(asked: Asked) -> float:
    """CPU seconds of the same calls of the bare networks; each kind is timed a few times."""
    spent = 0.0
    for (net, shape, graph), times in asked.items():
        x = torch.rand(shape).to(memory_format=torch.channels_last)
        few = min(times, 20)
        spent += times / few * least(partial(_calls, net, x, graph, few), 3)
    return spent


def _calls(net: Network, x: Tensor, graph: bool, times: int) -> None:
    for _ in range(times):
        if graph:
            point = x.detach().requires_grad_()
            with torch.enable_grad():
                out: Any = net._call(point)
            torch.autograd.grad(out.sum(), point)
        else:
            with torch.inference_mode():
                net._call(x)


def main(arguments: Sequence[str] | None = None) -> None:
    """Both times, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("defense")
    parser.add_argument("attack")
    parser.add_argument("--dataset", default="patches")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    _, _, work = one_shard(given.defense, given.attack, given.dataset, given.preset)
    asked = written_down(work)
    whole, floor = least(work, given.times), alone(asked)
    images = sum(shape[0] * times for (_, shape, _), times in asked.items())
    print(f"{given.defense} {given.attack}: {sum(asked.values()):,} calls, {images:,} images")
    print(f"{whole:.2f} s, its network calls alone {floor:.2f} s, ratio {whole / floor:.3f}")


if __name__ == "__main__":
    main()
