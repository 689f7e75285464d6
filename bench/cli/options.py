"""Options that `run` and `plan` share, and how they become a Request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bench import registry
from bench.errors import BenchError
from bench.plan import Request
from bench.spec import parse_defense, split_list

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--defense",
        "defenses",
        multiple=True,
        metavar="SPEC",
        help="adp, adp:sigma=0.1, none@madry, a+b@trades, or the group all; repeat or use commas.",
    ),
    click.option(
        "--attacks",
        "attacks",
        multiple=True,
        default=["all"],
        show_default=True,
        metavar="SPEC",
        help="Group (all, blind, adaptive, blackbox, corruption) or names with settings.",
    ),
    click.option("--dataset", default="patches", show_default=True, metavar="NAME"),
    click.option("--threat", default="", metavar="NORM:EPS", help="Default: the data set's."),
    click.option("--subset", default="", metavar="NAME", help="Default: the data set's."),
    click.option("--images", type=int, metavar="N", help="Default: the whole subset."),
    click.option("--seeds", default=1, show_default=True, metavar="N", help="Attack seeds 0..N-1."),
    click.option(
        "--preset",
        default="standard",
        show_default=True,
        metavar="NAME",
        help="How much of each attack: quick, standard, paper.",
    ),
    click.option(
        "--control",
        "controls",
        multiple=True,
        metavar="SPEC",
        help="Cheap controls beside purifiers; default: the data set's, 'off' for none.",
    ),
    click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in."),
    click.option("--shard", default="", metavar="I/N", help="Part I of N equal parts of the work."),
)


def shared(function: F) -> F:
    """Add the shared options to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def typed(name: str) -> str:
    """The value of an option of the running command where somebody gave it, else nothing."""
    context = click.get_current_context()
    given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    return str(context.params[name]) if given else ""


def request(
    *,
    defenses: tuple[str, ...],
    attacks: tuple[str, ...],
    dataset: str,
    threat: str,
    subset: str,
    images: int | None,
    seeds: int,
    preset: str,
    controls: tuple[str, ...],
    plugins: tuple[str, ...] = (),
    weights: tuple[str, ...] = (),
) -> Request:
    """The Request of the shared options."""
    if not defenses:
        raise BenchError("Missing option '--defense' (such as --defense adp)")
    if images is not None and images <= 0:
        raise BenchError("--images needs a positive number")
    chosen = [text for text in split_list(controls) if text != "off"] if controls else None
    for text in chosen or ():
        _control(text)
    return Request(
        defenses=defenses,
        attacks=attacks,
        dataset=dataset,
        threat=threat,
        subset=subset,
        images=images or 0,
        seeds=seeds,
        preset=preset,
        controls=chosen,
        plugins=plugins,
        weights=weights,
    )


def _control(text: str) -> None:
    """Refuse a control that is none, also where no row would carry it."""
    if "@" in text:
        raise BenchError(f"--control '{text}': controls take the classifiers of the defenses")
    for part in parse_defense(text).parts:
        registry.find_defense(part.name)


def count(number: int, noun: str) -> str:
    """`1 shard`, `2 shards`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
