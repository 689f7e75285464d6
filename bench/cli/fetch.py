"""`bench fetch`: data sets and published weights; the only command that touches the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import data_root

if TYPE_CHECKING:
    from bench.files.download import Progress
    from bench.models.zoo.entries import PublishedFile

WEIGHTS = "weights/"
"""What the names of published weights begin with."""
CORRUPTED = {"cifar10-c": ("cifar10", "CIFAR-10-C"), "cifar100-c": ("cifar100", "CIFAR-100-C")}


@click.command("fetch")
@click.argument("names", nargs=-1, metavar="NAME...")
@data_root
@click.option(
    "--from",
    "given",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="A file that you have, or the folder it is in: nothing is downloaded in its place.",
)
@click.option("--generate", is_flag=True, help="cifar10-c from cifar10, by our own functions.")
@click.option("--list", "listing", is_flag=True, help="What can be fetched, and what is there.")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def fetch_command(
    names: tuple[str, ...], *, given: tuple[Path, ...], generate: bool, listing: bool, as_json: bool
) -> None:
    """Fetch data sets (cifar10) and published weights (weights/NAME) into their folders.

    Sizes and checksums are verified; what was cut short continues; what is there already stays.
    """
    from bench.cli import interrupt
    from bench.errors import BenchError

    if listing:
        _list(as_json)
        return
    if not names:
        raise BenchError("name what to fetch (bench fetch cifar10), or see bench fetch --list")
    for name in names:
        _require_known(name, generate)
    files = [path for item in given for path in _files(item)]
    with interrupt.in_order(), _progress() as progress:
        for name in names:
            if name.startswith(WEIGHTS):
                _weights(name, files, progress)
            elif generate:
                _generate(name, progress)
            else:
                _data(name, files, progress)


def _require_known(name: str, generate: bool) -> None:
    """Refuse a name that nothing is fetched or generated under, before anything is."""
    from bench.data.sources import SOURCES
    from bench.errors import unknown

    if name.startswith(WEIGHTS):
        if name not in _published():
            raise unknown("weights to fetch", name, _published())
    elif generate:
        if name not in CORRUPTED:
            raise unknown("data set to generate", name, CORRUPTED)
    elif name not in SOURCES:
        raise unknown("data set to fetch", name, [*SOURCES, *_published()])


def _files(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]


def _data(name: str, given: list[Path], progress: Progress) -> None:
    from bench.data.sources import SOURCES, fetch
    from bench.files.paths import data_root as root

    source = SOURCES[name]
    size = f"{source.bytes / 1e6:,.0f} MB" if source.bytes else "of unknown size"
    if not given and not source.manual and not source.present(root()):
        click.echo(f"{name}: {size}, {source.page}, licence: {source.licence}", err=True)
    new = fetch(source, root(), given, progress)
    click.echo(f"{name}: {'fetched into' if new else 'there already, in'} {root()}")


def _generate(name: str, progress: Progress) -> None:
    from bench.data.generate import generate
    from bench.files.paths import data_root as root
    from bench.measure import build

    dataset, folder = CORRUPTED[name]
    made = generate(build.dataset(dataset), folder, root(), progress)
    click.echo(f"{name}: generated; use it by --attacks corruption:source={made.name}")


def _published() -> dict[str, PublishedFile]:
    """The published weights, by the names that they are fetched under."""
    from bench.models.zoo.entries import entries

    return {f"{WEIGHTS}{entry.name}": entry for entry in entries("")}


def _weights(name: str, given: list[Path], progress: Progress) -> None:
    from bench.models.zoo.published import fetch

    entry = _published()[name]
    path = fetch(entry, _of_entry(name, entry.file, given), progress)
    click.echo(f"{name}: {path}")


def _of_entry(name: str, file: str, given: list[Path]) -> Path | None:
    """The given file of an entry: the one of its published name, or the only one."""
    from bench.errors import BenchError

    named = [path for path in given if path.name == file]
    if not named and len(given) > 1:
        raise BenchError(f"{name}: none of the given files is {file}; name one file with --from")
    return next(iter(named or given), None)


def _list(as_json: bool) -> None:
    from tabulate import tabulate

    from bench.data.sources import SOURCES
    from bench.files.paths import data_root as root

    rows = [
        {
            "name": source.name,
            "here": source.present(root()),
            "bytes": source.bytes,
            "files": [remote.name for remote in source.files],
            "licence": source.licence,
            "page": source.page,
            "manual": source.manual,
        }
        for source in SOURCES.values()
    ]
    if as_json:
        listing = {"data_root": str(root()), "data": rows, "weights": [*_published()]}
        click.echo(json.dumps(listing, indent=1))
        return
    head = ("name", "here", "MB", "licence", "page")
    table = [
        (
            row["name"],
            "yes" if row["here"] else "",
            f"{SOURCES[str(row['name'])].bytes / 1e6:,.0f}",
            row["licence"],
            row["page"],
        )
        for row in rows
    ]
    click.echo(f"data root: {root()}")
    click.echo(tabulate(table, head, tablefmt="simple", disable_numparse=True))
    for name in _published():
        click.echo(name)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar per file on a terminal, a line per tenth when piped."""
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    console = Console(stderr=True)
    tenths: dict[str, int] = {}
    if not console.is_terminal:

        def line(name: str, done: int, total: int) -> None:
            tenth = 10 * done // total if total else 0
            if tenth > tenths.get(name, 0 if total else -1):
                tenths[name] = tenth
                click.echo(f"{name}: {10 * tenth} %", err=True)

        yield line
        return
    with Bars(console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def bar(name: str, done: int, total: int) -> None:
            task = tasks.setdefault(name, bars.add_task(name)) if name not in tasks else tasks[name]
            bars.update(task, completed=done, total=total or None)

        yield bar
