"""One shard of one cell, measured: names in, a Record out. This is what every executor runs."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from bench import api
from bench.api import Context
from bench.api.attacked import Certificate
from bench.api.ball import ThreatModel
from bench.api.purifier import Network
from bench.compute import device
from bench.compute.names import Precision
from bench.compute.network import computing, shrink, start_large
from bench.data import points
from bench.errors import BenchError, told
from bench.files.paths import DATA
from bench.measure import build, probe, weights_used
from bench.measure.judge import Outcome, evaluate
from bench.measure.resubmit import Tried
from bench.measure.shard import begun, images_of
from bench.models.zoo.networks import assumed
from bench.plan import plan
from bench.results.archive import ASSUMED
from bench.results.store import SHARD, Cell, Planned, Record, Store
from bench.spec import Part, parse_defense, parse_part

T = TypeVar("T")
SOFTWARE = ("torch", "torchvision", "numpy", "pyautoattack", "scikit-image", "scikit-learn")


@dataclass(frozen=True)
class Setup:
    """What a worker needs before its first shard. It changes no verdict, only where and how fast.

    device: one or several (`cuda:0,cuda:1`), over which workers are spread in turn. chunk: images
    per network call, a multiple of 32. threads: of torch, per worker. data_root: the folder of
    fetched data, where it is not the default one. precision: what networks compute in, and gate:
    how it came to be allowed or refused (bench/measure/precision.py).
    """

    device: str = "cpu"
    chunk: int = SHARD
    threads: int = 1
    plugins: tuple[str, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    data_root: str = ""
    precision: Precision = "float32"
    gate: str = ""

    def start(self, place: int = 0) -> None:
        """Prepare this process as worker number `place`, counted from 0."""
        global _place  # noqa: PLW0603  # a worker is a process, and this is all it is told
        _place = place
        if self.data_root:
            os.environ[DATA] = self.data_root
        torch.set_num_threads(self.threads)
        device.require(self.precision, (self.here(),))
        device.prepare(self.here())
        Network.chunk = self.chunk
        api.load(self.plugins)

    def here(self) -> str:
        """The device of this worker."""
        names = device.parse(self.device)
        return names[_place % len(names)]


_place = 0
_memory: dict[str, tuple[int, bool]] = {}
"""What a defense left of the chunk, and whether it made networks lean, when memory ran out."""


@dataclass(frozen=True)
class Task:
    """One shard of one planned cell, and how to run it.

    weights: today's sha256 by name, where the worker must find the same. draws: of the judge; 0
    for the data set's own number. save: give the attacked images too, and judge them once more in
    8 bits. results: the folder where another run may have put the record meanwhile.
    """

    planned: Planned
    shard: int
    preset: str
    setup: Setup = field(default_factory=Setup)
    weights: Mapping[str, str] | None = None
    draws: int = 0
    save: bool = False
    results: str = ""


@dataclass(frozen=True)
class Saved:
    """A record, and the file of its attacked images (`bench.data.points`); its sha256 is in it."""

    record: Record
    points: bytes


@dataclass(frozen=True)
class Found:
    """A shard that needed no measurement: another run on the same folder was faster."""

    task: Task


@dataclass(frozen=True)
class Failure:
    """A shard that could not be measured, why, in one line, and on which machine."""

    task: Task
    reason: str
    machine: str = field(default_factory=platform.node)


def measure(task: Task) -> Record | Saved | Found | Failure:
    """The record of a shard; a Failure (never a number) when anything goes wrong."""
    return tried(task, lambda: _there(task) or _measure(task))


def _there(task: Task) -> Found | None:
    """Another run's record of the shard, made with the same weights and as many draws."""
    if not task.results:
        return None
    store = _store(task.results)
    record = store.sound(task.planned, task.shard)
    if record is None or (task.save and store.lacks_points(record)):
        return None
    same = (record.weights, record.draws) == (task.weights, task.draws)
    return Found(task) if same else None


@cache
def _store(results: str) -> Store:
    """Its folders are listed once by each worker, not for each shard.

    A cell that another run begins meanwhile, under another name for it, is not seen: it is measured
    twice, and the two agree.
    """
    return Store(Path(results))


def tried(task: Task, work: Callable[[], T]) -> T | Failure:
    """`work`, or why it failed, in one line; sys.exit of a plug-in is a failure like any other."""
    try:
        return work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Failure(task, told(error))


def _measure(task: Task) -> Record | Saved:
    return within_memory(task.setup, task.planned.cell.defense, lambda: _record(task))


def within_memory(setup: Setup, defense: str, work: Callable[[], T]) -> T:
    """`work`, from its beginning and its seeds again where memory ran out.

    Networks and chains split themselves (`bench.compute.network.by_chunks`); what is left over is
    the graph of a library, and the networks of other defenses. A defense keeps the chunk that it
    could be measured with.
    """
    images, Network.lean = _memory.get(defense, (setup.chunk, False))
    start_large(images)
    try:
        while True:
            try:
                done = work()
                break
            except Exception as error:
                if not device.out_of_memory(error):
                    raise
            build.forget()
            Network.lean = True
            shrink(min(Network.chunk, 2 * SHARD))
        if Network.chunk < setup.chunk:
            _memory[defense] = (Network.chunk, Network.lean)
        return done
    finally:
        Network.lean = False
        start_large(setup.chunk)


def _record(task: Task) -> Record | Saved:
    began = time.perf_counter()
    cell, setup = task.planned.cell, task.setup
    context = context_of(cell, setup)
    work = begun(cell, task.shard, context)
    weights = weights_used.weights_used(cell.defense, cell.attack, context)
    _require_the_planned(task, weights)
    probe.require(work.defense, lambda: images_of(cell, 0, context).x, task.planned.defense)
    shard = work.shard
    draws = task.draws or plan.draws_of(cell.dataset, cell.defense, cell.threat)
    with computing(setup.precision):
        outcome = evaluate(
            work.defense,
            work.attack,
            shard.x,
            shard.y,
            ThreatModel.parse(cell.threat),
            draws=draws,
            key=work.key,
            rounded=task.save,
        )
    probe.require_unchanged(work.defense, task.planned.defense)
    record = Record(
        cell=cell,
        shard=task.shard,
        asked={
            "defense": task.planned.defense,
            "attack": task.planned.attack,
            "preset": task.preset,
        },
        resolved=resolved(cell.defense, cell.attack),
        software=_software(api.find_attack(parse_part(cell.attack).name).software),
        weights=weights,
        index=shard.index,
        label=shard.label,
        block=shard.block,
        variants=outcome.attacked.variants,
        draws=draws,
        **_verdicts(outcome),
        timing={
            "seconds": round(outcome.seconds, 3),
            "wall_seconds": round(time.perf_counter() - began, 3),
            **_conditions(setup),
            **({ASSUMED: taken} if (taken := assumed(work.defense.classifier.module)) else {}),
        },
        code=weights_used.code_used(cell.defense, cell.attack, cell.dataset),
    )
    record = record.checked()
    if not task.save:
        return record
    stored = points.pack(cell, task.shard, shard.split, record, outcome.attacked.x_adv)
    sha256 = hashlib.sha256(stored).hexdigest()
    return Saved(replace(record, points=sha256), stored)


def _require_the_planned(task: Task, weights: Mapping[str, str]) -> None:
    """Refuse to measure, under the plan's name, with other plug-ins or weights than the plan's."""
    cell = task.planned.cell
    here = plan.versions(cell.dataset, parse_defense(cell.defense), parse_part(cell.attack).name)
    if here != cell.versions:
        raise BenchError(f"planned with plug-ins {cell.versions}, here are {here}")
    planned = weights if task.weights is None else task.weights
    if other := sorted(name for name, sha256 in weights.items() if planned.get(name) != sha256):
        files = [name for name in other if weights_used.is_file(name)]
        if files:
            raise BenchError(f"weights {', '.join(files)} are not the files of the plan")
        raise BenchError(
            f"{', '.join(other)}: not what was planned; edited meanwhile, or made of unseeded "
            "random numbers, so that every worker has another"
        )


def _conditions(setup: Setup) -> dict[str, Any]:
    """Where and how networks computed: what may differ between equal records."""
    found = {
        "device": device.describe(setup.here()),
        "precision": setup.precision,
        "threads": setup.threads,
        "chunk": Network.chunk,
        "machine": platform.machine(),
    }
    if setup.gate:
        found["gate"] = setup.gate
    if Network.chunk < setup.chunk:
        found["out_of_memory"] = f"{Network.chunk} images per network call instead of {setup.chunk}"
    return found


def context_of(cell: Cell, setup: Setup) -> Context:
    """Where this worker finds weights, and its device."""
    return _pinned(build.context(cell.dataset, setup.here(), dict(setup.weights)))


@cache
def _pinned(context: Context) -> Context:
    """`context` that looks every weight file up once, like the networks, which are kept too.

    A file that is replaced during a run must not lend its sha256 to verdicts of the old one.
    """
    return replace(context, weights=cache(context.weights))


def _verdicts(outcome: Outcome) -> dict[str, Any]:
    def bits(row: torch.Tensor) -> str:
        return "".join("1" if value else "0" for value in row.tolist())

    attacked = outcome.attacked
    rounded = () if outcome.rounded is None else outcome.rounded
    return {
        "correct": tuple(bits(row) for variant in outcome.correct for row in variant),
        "rounded": tuple(bits(row) for variant in rounded for row in variant),
        "protocol": "" if attacked.protocol is None else bits(attacked.protocol),
        "distance": tuple(float(f"{d:.6g}") for d in outcome.distance.tolist()),
        "queries": () if attacked.queries is None else tuple(map(int, attacked.queries.tolist())),
        "calls": outcome.calls,
        "trace": outcome.trace,
        "certificate": _proven(attacked.certificate) if attacked.certificate else {},
        "gradient": attacked.gradient,
        "resubmit": _tried(outcome.tried) if outcome.tried else {},
    }


def _tried(tried: Tried) -> dict[str, tuple[int, ...]]:
    return {
        "attacked": tuple(map(int, tried.attacked.tolist())),
        "untouched": tuple(map(int, tried.clean.tolist())),
        "steps": (tried.steps,),
        "tries": (tried.tries,),
    }


def _proven(certificate: Certificate) -> dict[str, tuple[float, ...]]:
    return {
        "label": tuple(map(int, certificate.label.tolist())),
        "copies": tuple(map(int, certificate.copies.tolist())),
        "radius": tuple(float(f"{radius:.6g}") for radius in certificate.radius.tolist()),
    }


def resolved(defense: str, attack: str) -> Mapping[str, Any]:
    """Every setting of a cell as data: the defense's parts in order, its classifier, the attack."""
    spec = parse_defense(defense)

    def typed(kind: str, part: Part) -> dict[str, Any]:
        settings = api.find(kind, part.name).resolve(part, "").settings
        return {"name": part.name, "settings": dict(settings)}

    return {
        "defense": [typed("defense", part) for part in spec.parts],
        "classifier": typed("classifier", spec.classifier),
        "attack": typed("attack", parse_part(attack)),
    }


@cache
def _software(more: tuple[str, ...]) -> Mapping[str, str]:
    """more: what the attack runs besides, by the names of the packages."""
    python = ".".join(map(str, sys.version_info[:2]))
    return {"python": python, **{name: version(name) for name in (*SOFTWARE, *more)}}
