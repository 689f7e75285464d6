"""`bench run`: plan, drop what is finished, measure the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.data_root import data_root
from bench.cli.options import request, shared
from bench.errors import BenchError, nearest
from bench.results import SHARD

if TYPE_CHECKING:
    from bench.spec import Part


@click.command("run")
@shared
@data_root
@click.option("--workers", default=1, show_default=True, metavar="N", help="Local processes.")
@click.option("--results", default="results", show_default=True, metavar="DIR")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda, ...")
@click.option("--chunk", default=SHARD, show_default=True, help="Images per network call.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Your own weight file.")
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON instead of text.")
def run_command(
    *,
    workers: int,
    results: str,
    device: str,
    chunk: int,
    weights: tuple[str, ...],
    as_json: bool,
    plugins: tuple[str, ...],
    **asked: Any,
) -> int:
    """Measure defenses against attacks, beside the static base and cheap controls.

    Started again, it measures only what is missing. Nothing is printed as a number here: see
    `bench table`.
    """
    from bench import build, inventory, plan, registry
    from bench.cli import interrupt
    from bench.cli.progress import Reporter
    from bench.defense import chunk_size
    from bench.home import data_root as root
    from bench.results import Store
    from bench.runner import Summary, longest_first, pending, run
    from bench.worker import Setup, subset_here, weights_option

    with chunk_size(chunk):
        pass  # refuses a chunk that is not a multiple of 32 before anything else happens
    if workers < 1:
        raise BenchError("--workers needs at least 1")
    registry.load(plugins)
    made, draft = plan.make(request(**asked, plugins=plugins, weights=weights), here=True)
    overrides = weights_option(made.dataset, weights)
    build.context(made.dataset, device, dict(overrides))  # a wrong device is an error at once
    setup = Setup(device, chunk, 1, plugins, overrides, str(root().resolve()))
    store, summary = Store(Path(results)), Summary()

    def today(defense: str, attack: str) -> dict[str, str]:
        found = inventory.weights_used(defense, attack, made.dataset, dict(overrides))
        read.update(found)
        return found

    read: dict[str, str] = {}
    tasks = pending(made, store, today, summary, setup)
    for name, _ in overrides:
        if name not in read:
            raise BenchError(
                f"--weights {name}: nothing in this run reads it{nearest(name, read)} "
                f"(read: {', '.join(sorted(read)) or 'none'})"
            )
    draft.notes += own_weights(made.dataset, sorted(read), overrides)
    buildable({task.planned.cell.defense for task in tasks}, made.dataset, dict(overrides))
    if tasks:
        subset_here(made.dataset, made.subset)  # missing data is one line, before any work
    store.write_plan(made)
    reporter = Reporter(made, draft, tasks, summary, quiet=as_json)
    with interrupt.in_order(), reporter:
        run(longest_first(tasks, made, draft.costs), store, workers, summary, reporter.advance)
    reporter.finish(results, as_json)
    sys.stdout.flush()
    return 2 if summary.failures else 0


def buildable(defenses: set[str], dataset: str, overrides: dict[str, str]) -> None:
    """Build once, and keep nothing of, all that `defenses` make of weight files.

    Raises:
        BenchError: a weight file does not hold what a defense needs of it.
    """
    from bench import build, registry
    from bench.spec import parse_defense

    context = build.context(dataset, weights_override=overrides)
    parts: dict[Part, dict[Part, None]] = {}
    for spec in map(parse_defense, sorted(defenses)):
        read = (p for p in spec.parts if registry.find_defense(p.name).weights(dict(p.settings)))
        parts.setdefault(spec.classifier, {}).update(dict.fromkeys(read))
    for classifier, above in parts.items():
        where = build.behind(classifier, context, build.classifier(classifier, context))
        for part in above:
            build.purifier(part, where)


def own_weights(
    dataset: str, names: list[str], overrides: tuple[tuple[str, str], ...]
) -> list[str]:
    """A line for every weight file that is not the packaged one."""
    from bench.zoo.weights import find, packaged

    files = dict(overrides)
    paths = {n: Path(files[n]) if n in files else find(dataset, n).path for n in names}
    shipped = packaged(dataset)
    return [f"weights '{n}': {path}" for n, path in paths.items() if path.parent != shipped]
