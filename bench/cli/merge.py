"""`bench merge`: one folder of results from those of several machines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.results.merge import Merged


@click.command("merge")
@click.argument(
    "sources", nargs=-1, required=True, metavar="FROM...", type=click.Path(path_type=Path)
)
@click.option(
    "--into",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that gets everything; it may hold results already.",
)
@click.option(
    "--unsealed",
    is_flag=True,
    help="Take also what has no checksum (of an older version); its copy gets one.",
)
def merge_command(*, sources: tuple[Path, ...], into: Path, unsealed: bool) -> None:
    """Copy plans, records and stored points of several result folders into one.

    Equal records are kept; a damaged, edited or foreign file, or two records of one shard that
    differ, stop it before anything is written.
    """
    from bench.results.merge import merge
    from bench.results.store import Store

    done = merge(sources, into, unsealed=unsealed)
    click.echo(
        f"{into}: {done.copied:,} records copied, {done.kept:,} there already, "
        f"{done.plans:,} new plans" + _points(done),
        err=True,
    )
    for dataset in Store(into).datasets():
        click.echo(shlex.join(["bench", "table", "--results", str(into), "--dataset", dataset]))


def _points(done: Merged) -> str:
    copied = f", {done.points:,} files of points" if done.points else ""
    return copied + (f"; {done.lost:,} records without their points" if done.lost else "")
