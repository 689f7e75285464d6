"""What several commands take: whole lists of options, results, the file of a picture. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.errors import BenchError
from bench.files.paths import DATA

if TYPE_CHECKING:
    from bench.results.archive import Results

F = TypeVar("F", bound=Callable[..., Any])

PICTURE = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File to write: .png or .svg.",
)


def results(help_: str) -> Callable[[F], F]:
    """`--results`, a path, of a command that reads there what `help_` says."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        help=help_,
    )


def opened(path: Path) -> Results:
    """The results at `path`; what of them cannot be read is said when the command ends."""
    from bench.results.archive import open_results

    source = open_results(path)
    click.get_current_context().call_on_close(lambda: _say_left_out(source))
    return source


def _say_left_out(source: Results) -> None:
    for reason in source.left_out.values():
        click.echo(f"left out: {reason}; the same bench run measures it again", err=True)


def add(function: F, options: Sequence[Callable[[F], F]]) -> F:
    """A command with options, in their order."""
    for option in reversed(options):
        function = option(function)
    return function


def weight_files(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`NAME=PATH` options of `--weights` to pairs.

    Raises:
        BenchError: not of that form, or no such file.
    """
    pairs = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise BenchError(f"--weights '{text}' is not NAME=PATH (such as score=my.safetensors)")
        if not Path(path).is_file():
            raise BenchError(f"--weights {name}: no file '{path}'")
        pairs.append((name, str(Path(path).resolve())))
    return tuple(pairs)


def data_root(function: F) -> F:
    """Add `--data-root`: where fetched data lies, for this command and its workers."""
    return click.option(
        "--data-root",
        metavar="DIR",
        expose_value=False,
        callback=_set_root,
        help="Where fetched data lies; default: $BENCH_DATA or $BENCH_HOME/data.",
    )(function)


def _set_root(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value:
        os.environ[DATA] = str(Path(value).resolve())
