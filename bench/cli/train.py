"""`bench train`: every network that a defense needs, or single ones by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.cli.common import data_root


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
    plugins: tuple[str, ...],
) -> None:
    """Train what SPEC needs: a defense (adp, none@madry, adp:network=ncsnv2@trades) or the name
    of weights (score, natural). Those of an add-on belong to a classifier: aid@madry. What is
    there already is kept; a killed run continues.
    """
    import torch

    from bench import api
    from bench.cli import interrupt
    from bench.errors import BenchError
    from bench.measure import build
    from bench.models.zoo.weights import check_writable, own
    from bench.models.zoo.weights import packaged as shipped
    from bench.training.needs import exists, needed
    from bench.training.train import train

    if packaged and out:
        raise BenchError("--packaged and --out exclude each other")
    folder = shipped(dataset) if packaged else out
    api.load(plugins)
    torch.set_num_threads(1)
    build.context(dataset, device)  # a wrong data set or device is an error at once
    found = build.dataset(dataset)
    for need in needed(specs, dataset):
        name = need.name
        if not force and exists(need, dataset, folder):
            click.echo(f"{name}: there already (--force trains it again)")
            continue
        check_writable(folder or own(dataset))
        with interrupt.in_order(), _progress(f"{dataset} {name}") as advance:
            weights = train(
                need, found, seed=seed, into=folder, device=device, amp=amp, progress=advance
            )
        click.echo(f"{name}: {weights.metadata['merit']} -> {weights.path}")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar on a terminal, ten plain lines when piped."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step, steps, loss: _line(title, step, steps, loss)
        return
    with Progress(console=console) as bar:
        row = bar.add_task(title)

        def advance(step: int, steps: int, loss: float) -> None:
            bar.update(row, total=steps, completed=step, description=f"{title} loss {loss:.4f}")

        yield advance


def _line(title: str, step: int, steps: int, loss: float) -> None:
    # Progress is reported every 50 steps: of those, the ones that complete another tenth.
    if step == steps or step * 10 // steps > (step - 50) * 10 // steps:
        click.echo(f"{title}: step {step} of {steps}, loss {loss:.4f}", err=True)
