"""`--data-root`: where fetched data lies, for this command and the workers that it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.files.paths import DATA

F = TypeVar("F", bound=Callable[..., Any])


def data_root(function: F) -> F:
    """Add the option to a command; it sets `BENCH_DATA`."""
    return click.option(
        "--data-root",
        metavar="DIR",
        expose_value=False,
        callback=_set,
        help="Where fetched data lies; default: $BENCH_DATA or $BENCH_HOME/data.",
    )(function)


def _set(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value:
        os.environ[DATA] = str(Path(value).resolve())
