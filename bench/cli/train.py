"""`bench train`: every network that a defense needs, or single ones by name."""

from __future__ import annotations

import math
from pathlib import Path

import click

from bench.cli.common import data_root
from bench.compute.names import spelled


@click.command("train")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@data_root
@click.option("--dataset", default="patches", show_default=True, metavar="NAME")
@click.option("--seed", default=0, show_default=True, help="Of initial weights and batches.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: $BENCH_HOME.")
@click.option("--packaged", is_flag=True, help="For maintainers: into the source tree.")
@click.option("--force", is_flag=True, help="Train again what is there already.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
@click.option("--amp", is_flag=True, help="Mixed precision (bfloat16): faster on a GPU.")
@click.option("--steps", type=click.IntRange(1, 10**9), help="In place of the recipe's number.")
@click.option("--hours", type=float, help="Of each network: at most so many steps as fit in.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def train_command(
    specs: tuple[str, ...],
    *,
    dataset: str,
    seed: int,
    out: Path | None,
    packaged: bool,
    force: bool,
    device: str,
    amp: bool,
    steps: int | None,
    hours: float | None,
    plugins: tuple[str, ...],
) -> None:
    """Train what SPEC needs: a defense (adp, none@madry, adp:network=ncsnv2@trades) or the name
    of weights (score, natural). Those of an add-on belong to a classifier: aid@madry. What is
    there already is kept; a run that was killed, or stopped by Ctrl-C, continues.
    """
    from bench import api
    from bench.errors import BenchError
    from bench.training.names import require

    if packaged and out:
        raise BenchError("--packaged and --out exclude each other")
    if steps is not None and hours is not None:
        raise BenchError("--steps and --hours exclude each other")
    if hours is not None and not 0 < hours < math.inf:
        raise BenchError("--hours needs a number above 0")
    spelled(device)
    api.load(plugins)
    require(specs, dataset)

    import torch

    from bench.cli.training import watched
    from bench.measure import build
    from bench.models.zoo.weights import check_writable, own
    from bench.models.zoo.weights import packaged as shipped
    from bench.training.needs import exists, needed
    from bench.training.train import train

    folder = shipped(dataset) if packaged else out
    torch.set_num_threads(1)
    build.context(dataset, device)  # a wrong data set or device is an error at once
    found = build.dataset(dataset)
    if found.info.split:
        click.echo(f"{dataset}: {found.info.split}", err=True)
    for need in needed(specs, dataset):
        name = need.name
        if not force and exists(need, dataset, folder):
            click.echo(f"{name}: there already (--force trains it again)")
            continue
        check_writable(folder or own(dataset))
        with watched(f"{dataset} {name}") as told:
            weights = train(
                need,
                found,
                seed=seed,
                into=folder,
                device=device,
                amp=amp,
                onlooker=told,
                steps=steps,
                hours=hours,
                say=told.say,
            )
            told.wrote(weights.path)
        click.echo(f"{name}: {weights.metadata['merit']} -> {weights.path}")
