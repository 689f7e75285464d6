"""`bench doctor`: what is installed and found here, and how to get what is missing."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

PACKAGES = (
    "torch",
    "torchvision",
    "robustbench",
    "pyautoattack",
    "torchattacks",
    "pandas",
    "numpy",
)


@click.command("doctor")
@click.option("--dataset", default="", metavar="NAME", help="Only this data set.")
def doctor_command(dataset: str) -> int:
    """Print versions, device, plug-ins, data sets and weights; exit 2 when something is wrong."""
    import torch

    from bench import registry

    click.echo(f"python {sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    click.echo("  ".join(f"{name} {_version(name)}" for name in PACKAGES))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    click.echo(f"device {device}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    problems = [f"plug-in {b.where}: {b.reason}" for b in registry.broken()]
    names = [registry.find_dataset(dataset).name] if dataset else registry.names("dataset")
    for name in names:
        problems += _data_set(name)
    for problem in problems:
        click.echo(f"problem: {problem}")
    click.echo("all well" if not problems else f"{len(problems)} problems")
    return 2 if problems else 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _data_set(name: str) -> list[str]:
    from bench import build
    from bench.data.subsets import load_subset
    from bench.errors import BenchError
    from bench.plan import find_info
    from bench.zoo.weights import find

    info = find_info(name)
    try:
        images = len(build.dataset(name).images("test"))
        subset = load_subset(name, info.subset)
    except BenchError as error:
        return [f"{name}: {error}"]
    click.echo(f"{name}: {info.title}; {images} test images, subset {subset.name}")
    problems = []
    for weight in build.known_weights():
        try:
            found = find(name, weight)
            click.echo(f"  {weight:<16} {found.sha256[:12]}  {found.metadata.get('command', '')}")
        except BenchError as error:
            problems.append(f"{name}: {error}")
    return problems
