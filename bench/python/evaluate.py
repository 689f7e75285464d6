"""`bench.evaluate`: a model, a purifier or both through the judge of `bench run`, in one call."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from torch import nn

from bench import api
from bench.api.purifier import Traits
from bench.boards.analysis import analyse
from bench.boards.flags import flags
from bench.boards.gather import boards
from bench.compute.names import chunk
from bench.compute.network import Network
from bench.errors import BenchError
from bench.measure.executors.fleet import Fleet
from bench.measure.sweep import Sweep, prepare
from bench.measure.worker import Setup, Task
from bench.plan import networks
from bench.plan.plan import make
from bench.plan.request import Request, check, find_info, groups, labels
from bench.python import given
from bench.python.evaluation import Evaluation
from bench.results.store import Plan, Record, Store
from bench.spec import NO_ATTACK, NO_PURIFIER, parse_defense

Names = str | Sequence[str]


def benchmark(
    model: nn.Module | str,
    dataset: str | tuple[Any, Any] = "cifar10",
    threat: str = "",
    *,
    images: int = 0,
    device: str = "cpu",
) -> Evaluation:
    """A classifier alone under every attack of the group `all`, as `evaluate` does it."""
    return evaluate(model, dataset=dataset, threat=threat, images=images, device=device)


def evaluate(
    model: nn.Module | str,
    purifier: nn.Module | str | None = None,
    *,
    dataset: str | tuple[Any, Any] = "cifar10",
    threat: str = "",
    attacks: Names = "all",
    images: int = 0,
    preset: str = "standard",
    controls: Names | None = None,
    traits: Traits | None = None,
    seeds: int = 1,
    draws: int = 0,
    device: str = "cpu",
    results: str | Path | None = None,
    plugins: Names = (),
    progress: bool = True,
) -> Evaluation:
    """Measure a classifier behind a purifier, beside the bare classifier and cheap controls.

    model: a torch module from images [B,C,H,W] in [0,1] to logits, or a classifier's name.
    purifier: a module from images to images, a name such as `adp:sigma=0.1`, or None. dataset: a
    name, or test images and labels (x, y). threat: `linf:8/255`; empty for the data set's own.
    attacks: names, or a group; clean images are always asked. images: 0 for the whole subset.
    controls: as `--control`; () for none; of images that were given, none. traits: what a purifier
    is, where looking at it does not tell. results: a folder where records are kept; without it they
    last as long as what is returned. A later call continues there where all was named. Modules and
    tensors are measured anew at each call, since what they do cannot be read off them. Judge and
    seeds are those of `bench run`.

    Raises:
        BenchError: an unknown name, an image or a network of another form, missing data or weights.
    """
    api.load(map(str, _listed(plugins)))
    if not isinstance(images, int) or images < 0:
        raise BenchError(f"images={images}: needs a number from 1 on, or 0 for the whole subset")
    purifier = NO_PURIFIER if purifier is None else purifier
    named = all(isinstance(each, str) for each in (model, purifier, dataset))
    with ExitStack() as leaving, given.held(), _as_found():
        classifier = model if isinstance(model, str) else given.classifier(model)
        if not isinstance(dataset, str):
            dataset = given.images(dataset, model)
            controls = () if controls is None else controls
        if not isinstance(purifier, str):
            purifier = given.purifier(purifier, traits, find_info(dataset).shape)
        request = Request(
            defenses=(f"{purifier}@{classifier}",),
            attacks=_with_clean(_listed(attacks)),
            dataset=dataset,
            threat=threat,
            images=images,
            seeds=seeds,
            preset=preset,
            controls=None if controls is None else _listed(controls),
            plugins=tuple(str(Path(file).resolve()) for file in map(str, _listed(plugins))),
            draws=draws,
        )
        check(request)
        request, moved = networks.chosen(request)
        wanted = Path(results).absolute() if results else None
        folder = wanted if wanted and named else Path(tempfile.mkdtemp(prefix="bench-"))
        if folder != wanted:
            leaving.callback(shutil.rmtree, folder, ignore_errors=True)
        made, draft = make(request, here=True)
        made = made if named else replace(made, command=_call(request))
        sweep = prepare(request, (made, draft), Store(folder), Setup(device, chunk(device)))
        _carried_out(sweep, shown=progress)
        told = [*filter(None, [moved]), *draft.notes]
        found = _evaluation(sweep, str(parse_defense(request.defenses[0])), told)
        if wanted and not named:
            found.save(wanted)
        weakref.finalize(found, leaving.pop_all().close)
    return found


def _with_clean(attacks: tuple[str, ...]) -> tuple[str, ...]:
    """A worst case is over clean images too."""
    there = [label for _, label in labels(attacks, groups())]
    return attacks if NO_ATTACK in there else (NO_ATTACK, *attacks)


def _call(request: Request) -> str:
    """What asked for it, where no command can: objects under the names that they have on boards."""
    purifier, _, classifier = request.defenses[0].partition("@")
    asked = {"dataset": request.dataset, "threat": request.threat, "images": request.images}
    asked |= {"attacks": ",".join(request.attacks), "preset": request.preset}
    told = "".join(f", {name}={value!r}" for name, value in asked.items() if value)
    return f"bench.evaluate({classifier!r}, {purifier!r}{told})"


def _listed(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@contextmanager
def _as_found() -> Iterator[None]:
    """Leave the session's threads and chunks as they are."""
    threads, chunk = torch.get_num_threads(), Network.chunk
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        Network.chunk = chunk


def _carried_out(sweep: Sweep, *, shown: bool) -> None:
    """Measure, with a bar in a terminal or a notebook."""
    console = Console(stderr=True)
    hidden = not shown or not (console.is_terminal or console.is_jupyter)
    with Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=console, disable=hidden
    ) as bar:
        row = bar.add_task("starting", total=len(sweep.tasks))

        def watch(tasks: Sequence[Task]) -> None:
            for task in tasks:
                bar.update(row, description=f"{task.planned.defense} {task.planned.attack}")

        sweep.carry_out(
            Fleet(), say=bar.print, progress=lambda task, seconds: bar.advance(row), watch=watch
        )


@dataclass
class _Alone:
    """The results of one plan, whatever else lies in its folder."""

    plan: Plan
    store: Store
    left_out: dict[str, str] = field(default_factory=dict)

    def datasets(self) -> list[str]:
        """The plan's data set."""
        return [self.plan.dataset]

    def plans(self, dataset: str) -> list[Plan]:
        """The plan."""
        return [self.plan]

    def records(self, dataset: str) -> Iterator[Record]:
        """All that the folder holds: a board takes those of its plan."""
        return self.store.records(dataset)


def _evaluation(sweep: Sweep, asked: str, told: Sequence[str]) -> Evaluation:
    """The row of `asked` on the board of this plan alone. told: what planning had to say."""
    plan = sweep.plan
    (board,) = boards(_Alone(plan, sweep.store), plan.dataset)
    row = next(row for row in board.rows if row.asked == asked)
    doubts = [str(flag) for flag in flags(board) if flag.defense == row.label]
    failures = {
        failure.task.planned.attack: failure.reason
        for failure in sweep.summary.failures
        if failure.task.planned.defense == asked
    }
    return Evaluation(analyse(board), row, (*told, *doubts), failures, sweep.store.root)
