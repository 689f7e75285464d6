"""What several commands take: whole lists of options, results, the file of a picture. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

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


def add(function: F, options: Sequence[Callable[[F], F]]) -> F:
    """A command with options, in their order."""
    for option in reversed(options):
        function = option(function)
    return function
