"""`bench run`: plan, drop what is finished, measure the rest."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import data_root, weight_files
from bench.cli.options import checked, count, shared, typed
from bench.cli.stdout import others_to_stderr
from bench.compute import names
from bench.errors import BenchError, unknown
from bench.spec import split_list

if TYPE_CHECKING:
    from bench.cli.progress import Reporter
    from bench.measure.executors.fleet import Fleet
    from bench.measure.worker import Setup, Task
    from bench.plan.plan import Draft
    from bench.plan.request import Request
    from bench.plan.slices import Slice
    from bench.results.store import Plan, Store

DAY = 86400.0


@click.command("run")
@shared
@data_root
@click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Processes; default: one, one for each GPU, or with ray all that have room.",
)
@click.option("--executor", default="local", show_default=True, metavar="NAME", help="local, ray.")
@click.option(
    "--address", default="", metavar="HOST:PORT", help="Head of a Ray cluster; default: a new one."
)
@click.option(
    "--gpus-per-worker", type=float, metavar="F", help="With ray; default: 1 on cuda, else 0."
)
@click.option(
    "--shard-timeout",
    "limit",
    type=float,
    metavar="SECONDS",
    help="A shard that takes longer is given up as a failure; 0: never. Default: 86400 with "
    "several workers or ray; a single worker has none.",
)
@click.option("--results", default="results", show_default=True, metavar="DIR")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="cpu, mps, cuda:1, cuda:0,cuda:1, or cuda for every visible GPU; workers take turns.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="NAME",
    help="float32, tf32, bf16; the latter only where they change at most 1 verdict in 512.",
)
@click.option(
    "--chunk",
    type=int,
    metavar="N",
    help="Images per network call, a multiple of 32; default: 32, on cuda 256. Halved where memory "
    "runs out.",
)
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Your own weight file.")
@click.option(
    "--save-adversarial",
    "save",
    is_flag=True,
    help="Store the attacked images beside the records, and whether verdicts survive 8 bits.",
)
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON instead of text.")
def run_command(
    *,
    workers: int | None,
    executor: str,
    address: str,
    gpus_per_worker: float | None,
    shard: str,
    limit: float | None,
    results: str,
    device: str,
    precision: str,
    chunk: int | None,
    weights: tuple[str, ...],
    save: bool,
    as_json: bool,
    plugins: tuple[str, ...],
    **asked: Any,
) -> int:
    """Measure defenses against attacks, beside the static base and cheap controls.

    Started again, it measures only what is missing. Nothing is printed as a number here: see
    `bench table`. Exit code 2 where a shard failed: the rest is measured and kept.
    """
    from bench.plan.slices import Slice
    from bench.results.store import Store

    if not results.strip():
        raise BenchError("--results needs a folder, such as results")
    if Path(results).is_file():
        raise BenchError(f"--results {results} is a file, not a folder")
    part = Slice.parse(shard)
    fleet = fleet_of(executor, workers, address, gpus_per_worker, device)
    # Whole paths: a plug-in may change the folder.
    files = tuple(str(Path(file).resolve()) if Path(file).is_file() else file for file in plugins)
    if executor == "local":
        names.spelled(device, precision)
    chunk, overrides = names.chunk(device, chunk), weight_files(weights)
    wanted = checked(files, **asked, plugins=plugins, weights=weights)
    if not as_json:
        click.echo(beginning(wanted), err=True)

    from bench import api
    from bench.compute import device as devices
    from bench.files.paths import data_root as root
    from bench.measure.verify import check_submissions
    from bench.measure.worker import Setup
    from bench.plan import networks, plan

    # With Ray the workers' machines have the devices, and say so where they have not.
    places = devices.parse(device) if executor == "local" else ()
    allowed = devices.require(precision, places)
    store = Store(Path(results).absolute())
    with others_to_stderr():
        # A paper's tables are of the paper's networks.
        found = [(each, "") if asked["paper"] else networks.chosen(each) for each in wanted]
        wanted = [request for request, _ in found]
        plans = [plan.make(each, here=True) for each in wanted]
        for (_, draft), (_, line) in zip(plans, found, strict=True):
            draft.notes[:0] = [line] if line else []
        for made, _ in plans:
            check_submissions(made)
        if weights and len({each.dataset for each in wanted}) > 1:
            raise BenchError("--weights goes with one data set; name one --table of the paper")
        held = (*api.sources(), *(path for _, path in overrides))
        limit = time_limit(limit, executor, workers or len(places))
        fleet = replace(fleet, workers=workers or len(places), files=held, limit=limit)
        setup = Setup(device, chunk, 1, files, overrides, str(root().resolve()), allowed)
        reports = [
            measured(each, planned, store, setup, fleet, part=part, save=save, quiet=as_json)
            for each, planned in zip(wanted, plans, strict=True)
        ]
    if as_json:
        facts = [{"threat": report.plan.threat, **report.facts()} for report in reports]
        click.echo(json.dumps(facts if len(facts) > 1 else reports[0].facts(), indent=1))
    else:
        shown = ["bench", "table", "--results", results, *_shown(asked, wanted[0].dataset)]
        click.echo(shlex.join(shown))
    sys.stdout.flush()
    return 2 if any(report.summary.failures for report in reports) else 0


def beginning(wanted: list[Request]) -> str:
    """What is going to be measured, as it was asked for: the first words, before torch is there."""
    first = wanted[0]
    names = (split_list(first.defenses), split_list(first.attacks))
    what = " against ".join(", ".join(some) for some in names)
    more = f", and {count(len(wanted) - 1, 'run')} more" if len(wanted) > 1 else ""
    return f"{what} on {first.dataset}, preset {first.preset}{more}: starting"


def _shown(asked: Mapping[str, Any], dataset: str) -> list[str]:
    """What shows the numbers of a run: a board, or the printed tables."""
    if not asked["paper"]:
        return ["--dataset", dataset]
    number = ["--table", asked["number"]] if asked["number"] else []
    moved = ["--dataset", dataset] if typed("dataset") else []
    return ["--paper", asked["paper"], *number, *moved]


def measured(
    wanted: Request,
    planned: tuple[Plan, Draft],
    store: Store,
    setup: Setup,
    fleet: Fleet,
    *,
    part: Slice,
    save: bool,
    quiet: bool,
) -> Reporter:
    """What of a plan (of its `part`) is not in the store yet, measured and reported."""
    from bench.cli import interrupt
    from bench.cli.progress import Reporter
    from bench.measure.sweep import prepare

    made, draft = planned
    sweep = prepare(wanted, planned, store, setup, part=part, save=save)
    draft.notes += space(sweep.tasks)
    reporter = Reporter(made, draft, sweep.tasks, sweep.summary, quiet=quiet)
    with interrupt.in_order(), reporter:
        sweep.carry_out(fleet, say=reporter.say, progress=reporter.advance, watch=reporter.watch)
    if not quiet:
        reporter.finish()
    return reporter


def fleet_of(
    executor: str, workers: int | None, address: str, gpus: float | None, device: str
) -> Fleet:
    """The workers that were asked for.

    Raises:
        BenchError: an unknown executor, or an option that does not go with it.
    """
    from bench.measure.executors import EXECUTORS
    from bench.measure.executors.fleet import Fleet
    from bench.measure.executors.ray import endpoint

    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if workers is not None and workers < 1:
        raise BenchError("--workers needs at least 1")
    if executor != "ray" and (address or gpus is not None):
        raise BenchError(
            f"{'--address' if address else '--gpus-per-worker'} goes with --executor ray"
        )
    if executor == "ray" and device not in (kinds := ("cpu", "cuda", "mps")):
        raise BenchError(
            f"--device {device}: with Ray a worker has the GPUs that Ray gives it; choose one of "
            f"{', '.join(kinds)}"
        )
    if address:
        endpoint(address)
    cuda = device.startswith("cuda")
    if gpus is not None and (gpus < 0 or (gpus > 0 and not cuda)):
        raise BenchError("--gpus-per-worker needs a number from 0 on, and --device cuda")
    return Fleet(executor, workers or 0, address, float(cuda) if gpus is None else gpus)


def space(tasks: list[Task]) -> list[str]:
    """A line that says how large the points of all tasks will be, where any are stored."""
    from math import prod

    from bench import api
    from bench.plan.request import find_info
    from bench.results.store import SHARD
    from bench.spec import parse_part

    size = 0
    for cell in (task.planned.cell for task in tasks if task.save):
        part = parse_part(cell.attack)
        plugin = api.find_attack(part.name)
        variants = plugin.variants(dict(plugin.resolve(part, cell.dataset).settings))
        size += 4 * SHARD * variants * prod(find_info(cell.dataset).shape)
    return [f"attacked images: {size / 2**20:,.1f} MB at most"] if size else []


def time_limit(limit: float | None, executor: str, workers: int) -> float:
    """Seconds that a shard may take, 0 for any number.

    Raises:
        BenchError: no such number of seconds.
    """
    if limit is None:
        return DAY if executor == "ray" or workers > 1 else 0.0
    if not 0 <= limit <= 365 * DAY:
        raise BenchError("--shard-timeout needs seconds: a number from 0 (never) to 31536000")
    return limit
