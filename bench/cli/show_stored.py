"""`bench show curve|certified|corruptions|cost`: pictures of stored results, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import PICTURE, F, add, opened, results
from bench.errors import require_suffix

if TYPE_CHECKING:
    from bench.boards.board import Board
    from bench.report.figures.data import Chart, Scatter

OPTIONS = (
    results("Folder of result files, or a packed archive."),
    click.option("--dataset", default="", metavar="NAME", help="Default: the archive's, patches."),
    click.option(
        "--defense", "defenses", multiple=True, metavar="SPEC", help="Rows; default: all of them."
    ),
    click.option("--threat", default="", metavar="NORM:EPS", help="Only boards of this threat."),
    click.option("--preset", default="", metavar="NAME", help="Only boards of this preset."),
    click.option("--subset", default="", metavar="NAME", help="Only boards of this subset."),
    click.option("--images", type=int, metavar="N", help="Only boards of so many images."),
    PICTURE,
    click.option("--json", "as_json", is_flag=True, help="Print the numbers of the picture too."),
)
ATTACKS = click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="SPEC",
    help="Columns, or worst; default: what the picture is usually of.",
)


def stored(function: F) -> F:
    """Add the options that every picture of stored results has."""
    return add(function, OPTIONS)


@click.command("curve")
@click.option(
    "--over",
    required=True,
    metavar="SETTING",
    help="steps, runs, eot, sigma, eps, lambda ...; defense:steps where several have it.",
)
@ATTACKS
@stored
def curve_command(over: str, **asked: Any) -> None:
    """Accuracy against a setting of a defense, of an attack, or the threat's eps.

    A line is made of numbers that differ in this setting alone, with 95 % intervals.
    """
    from bench.report.charts.sweeps import sweep

    _draw(asked, lambda boards, choice, dataset: sweep(boards, over, choice, dataset))


@click.command("certified")
@ATTACKS
@stored
def certified_command(**asked: Any) -> None:
    """Certified accuracy against the l2 radius, from stored certificates."""
    from bench.report.charts.curves import certified_curve

    _draw(asked, certified_curve)


@click.command("corruptions")
@click.option(
    "--kind", "kinds", multiple=True, metavar="NAME", help="fog ..., or each; default: the mean."
)
@stored
def corruptions_command(kinds: tuple[str, ...], **asked: Any) -> None:
    """Accuracy against the severity of common corruptions."""
    from bench.report.charts.curves import severity_curves

    _draw(asked, lambda boards, choice, dataset: severity_curves(boards, choice, dataset, kinds))


@click.command("cost")
@click.option(
    "--calls",
    type=click.Choice(["prediction", "all"]),
    default="prediction",
    show_default=True,
    help="Of one prediction of the defense, or of everything that was run.",
)
@stored
def cost_command(calls: Any, **asked: Any) -> None:
    """Worst case against network calls per image, a point for each row of a board."""
    from bench.report.charts.curves import cost_scatter

    _draw(asked, lambda boards, choice, dataset: cost_scatter(boards, choice, dataset, calls))


def _draw(asked: dict[str, Any], make: Callable[[list[Board], Any, str], Chart | Scatter]) -> None:
    """Read the boards, make the chart, write it."""
    from bench.boards.gather import boards
    from bench.cli.table import dataset_of, require
    from bench.report.charts.curves import as_data
    from bench.report.charts.selection import Choice
    from bench.report.figures import files
    from bench.report.figures.data import Chart
    from bench.report.figures.lines import lines
    from bench.report.figures.scatter import scatter
    from bench.results.store import write_whole

    out: Path = asked["out"]
    require_suffix(out, files.SUFFIXES)
    source = opened(asked["results"])
    dataset = asked["dataset"] or dataset_of(source, asked["results"])
    require(source, dataset, asked["preset"])
    choice = Choice(
        asked["defenses"],
        asked.get("attacks", ()),
        asked["threat"],
        asked["preset"],
        asked["subset"],
        asked["images"] or 0,
    )
    chart = make(boards(source, dataset), choice, dataset)
    figure = lines(chart) if isinstance(chart, Chart) else scatter(chart)
    write_whole(out, files.encode(figure, out.suffix))
    click.echo(str(out), err=True)
    if asked["as_json"]:
        click.echo(json.dumps(as_data(chart), indent=1))
