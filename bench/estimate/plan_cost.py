"""Memory and hours of a plan: what its network calls cost here, without images or weights."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.compute.device import prepare
from bench.errors import BenchError
from bench.estimate import untrained
from bench.estimate.memory import footprints, memory
from bench.estimate.speed import Speed, seconds, speeds
from bench.plan.cost import Cost
from bench.results.store import Plan
from bench.spec import parse_defense


@dataclass
class Outlook:
    """By digest of the cell: bytes in memory, and hours on `device` where that was asked.

    A defense with networks that nobody describes is in neither; `notes` says so.
    """

    memory: dict[str, int] = field(default_factory=dict)
    cells: dict[str, float] = field(default_factory=dict)
    device: str = ""
    speeds: dict[str, Mapping[str, Speed]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def hours(self, shares: Mapping[str, float] | None = None) -> float:
        """Of all cells whose networks are known, one after the other.

        shares: of each cell, by digest, where a part of the plan was asked for.
        """
        return sum(h * (1 if shares is None else shares[d]) for d, h in self.cells.items())

    def timed(self) -> dict[str, dict[str, dict[str, float]]]:
        """Seconds per image of every network: defense -> network -> forward, backward, images."""
        return {
            defense: {name: vars(speed) for name, speed in found.items()}
            for defense, found in self.speeds.items()
        }


def look(plan: Plan, costs: Sequence[Cost], chunk: int, device: str = "") -> Outlook:
    """Memory of every cell at `chunk` images per network call; with a `device` also its hours.

    On a CPU those of one worker with one thread, as in `bench run`.
    """
    torch.set_num_threads(1)
    if device:
        prepare(device)
    outlook = Outlook(device=describe(device) if device else "")
    groups: dict[str, list[tuple[str, Cost]]] = {}
    for planned, cost in zip(plan.cells, costs, strict=True):
        key = _networks(planned.cell.defense, plan.dataset)
        groups.setdefault(key, []).append((planned.cell.digest, cost))
    backward = frozenset(name for c in costs for name, (_, back) in c.networks.items() if back)
    for spec, cells in groups.items():
        try:
            found = footprints(spec, plan.dataset, backward)
            if device:
                outlook.speeds[spec] = speeds(spec, plan.dataset, device, chunk)
        except BenchError as error:
            outlook.notes.append(f"no memory or time for {spec}: {error}")
            continue
        for digest, cost in cells:
            outlook.memory[digest] = memory(cost, found, chunk)
            if device:
                spent = seconds(cost, outlook.speeds[spec])
                outlook.cells[digest] = plan.images * spent / 3600
    return outlook


def _networks(defense: str, dataset: str) -> str:
    """A defense without what calls no network: all its controls are its bare classifier."""
    spec = parse_defense(defense)
    parts = [str(part) for part in spec.parts if untrained.calls_networks(part, dataset)]
    return f"{'+'.join(parts) or 'none'}@{spec.classifier}"


def _processor() -> str:
    """The model of the processor, where the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def describe(device: str) -> str:
    """A device in words, and what its hours are."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, by the clock"
    if device == "cpu":
        return f"{_processor()}, one thread, in CPU seconds"
    return f"{device}, by the clock"
