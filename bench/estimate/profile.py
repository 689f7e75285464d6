"""What `bench profile` prints: bytes and seconds per image of networks, a run and a step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from attacks.gradients import Bpda, Exact
from bench import api
from bench.api.purifier import CLASSIFIER
from bench.estimate import untrained
from bench.estimate.memory import Peak, footprints
from bench.estimate.speed import clock, speeds
from bench.spec import parse_defense


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
