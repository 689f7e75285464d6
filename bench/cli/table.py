"""`bench table`: leaderboards from stored results. Never imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import opened
from bench.errors import BenchError, require_suffix, unknown

if TYPE_CHECKING:
    from bench.boards.board import Board
    from bench.results.archive import Results

DEFAULT = "patches"


@click.command("table")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of result files, a packed archive, or a folder of archives.",
)
@click.option(
    "--dataset",
    default="",
    metavar="NAME",
    help="Default: the name of --out, or what the results are of; of a page, all.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write: .md (with a .csv beside it), .csv, .tex, or .html: a page of all data "
    "sets; of a paper, its tables.",
)
@click.option("--preset", default="", metavar="NAME", help="Only boards of this preset.")
@click.option(
    "--paper", default="", metavar="NAME", help="A paper's printed tables: adp, aid, scoreopt, all."
)
@click.option("--table", "number", default="", metavar="N", help="Only this one, as 1 or 11a.")
@click.option(
    "--compare",
    nargs=2,
    metavar="ROW ROW",
    help="Print the paired test of two rows instead, in every section that holds both.",
)
@click.option(
    "--published",
    is_flag=True,
    help="Print what was published on the data set too; files always hold it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tidy rows, or the tests.")
@click.option(
    "--pack", type=click.Path(path_type=Path), help="Write plans and records to one archive."
)
@click.option(
    "--unpack",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write them to a folder that bench run --results continues.",
)
def table_command(
    *,
    results: Path,
    dataset: str,
    out: Path | None,
    preset: str,
    compare: tuple[str, str] | None,
    paper: str,
    number: str,
    published: bool,
    as_json: bool,
    pack: Path | None,
    unpack: Path | None,
) -> None:
    """Make the leaderboard of a data set from stored results, or a paper's tables beside them."""
    _require_names("dataset", "preset", "paper", "number")
    if paper or number:
        from bench.cli.papers import paper_tables

        _alone("--paper", compare=compare, preset=preset, pack=pack, unpack=unpack)
        paper_tables(paper, number, results, dataset, out, as_json=as_json)
        return
    from bench.boards.gather import boards
    from bench.boards.spec import how_to_run, load_spec
    from bench.report import render

    if compare:
        _alone("--compare, which prints and writes no file", out=out)
    if out and out.suffix == render.PAGE:
        _alone("a page, which is written alone", json=as_json, pack=pack, unpack=unpack)
        _page(opened(results), out, dataset, preset)
        return
    if out:
        require_suffix(out, (*render.BOARDS, render.PAGE))
    source = opened(results)
    dataset = dataset or dataset_of(source, out, pack, results)
    require(source, dataset, preset)
    source = _stored(source, dataset, pack, unpack)
    if (pack or unpack) and not out:
        return
    found = boards(source, dataset, preset)
    spec = load_spec(dataset)
    output = render.of_boards(found, spec, dataset)
    if not any(board.measured for board in found):
        click.echo(f"nothing measured on {dataset}; run: {how_to_run(dataset)}", err=True)
    if compare:
        _compare(found, compare, as_json)
        return
    if out:
        for path in output.write(out):
            click.echo(str(path), err=True)
    if as_json:
        click.echo(json.dumps(output.rows(), indent=1))
    elif not out:
        shown = output if published else render.of_boards(found, spec.measured_alone, dataset)
        render.show(shown.document())
        if spec.published.claims and not published:
            count = sum(map(len, spec.published.claims.values()))
            click.echo(f"{count} published numbers on {dataset}: --published", err=True)


def _require_names(*names: str) -> None:
    """Refuse an option that was given an empty value, as an unset variable of a shell gives."""
    context = click.get_current_context()
    for name in names:
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and not context.params[name]:
            shown = next(p.opts[0] for p in context.command.params if p.name == name)
            raise BenchError(f"{shown} is empty: name one, or leave it out")


def _alone(what: str, **others: object) -> None:
    """Refuse options that would be ignored beside `what`."""
    if given := [name for name, value in others.items() if value]:
        raise BenchError(f"--{given[0]} does not go with {what}")


def require(source: Results, dataset: str, preset: str) -> None:
    """Refuse a data set or a preset that nothing is known of, with the nearest."""
    from bench.boards.spec import spec_names
    from bench.literature.claims import datasets

    known = {*source.datasets(), *spec_names(), *datasets()}
    if dataset not in known:
        raise unknown("data set", dataset, known)
    _require_preset(source, [dataset], preset)


def _require_preset(source: Results, datasets: list[str], preset: str) -> None:
    presets = {plan.preset for name in datasets for plan in source.plans(name)}
    if preset and presets and preset not in presets:
        raise unknown(f"preset on the boards of {', '.join(datasets)}", preset, presets)


def _page(source: Results, out: Path, dataset: str, preset: str) -> None:
    """Write the page of one data set, or of all that have results or a board's spec."""
    from bench.boards.spec import spec_names
    from bench.report.page import render
    from bench.results.store import write_whole

    known = sorted({*source.datasets(), *spec_names()})
    if dataset and dataset not in known:
        raise unknown("data set", dataset, known)
    names = [dataset] if dataset else known
    _require_preset(source, names, preset)
    write_whole(out, render(source, names, preset))
    click.echo(str(out), err=True)


def _compare(found: list[Board], rows: tuple[str, str], as_json: bool) -> None:
    from bench.boards.compare import as_data, versus
    from bench.report.compared import as_document
    from bench.report.render import show

    sections = versus(found, rows)
    if as_json:
        click.echo(json.dumps(as_data(sections), indent=1))
    else:
        show(as_document(sections))


def _stored(source: Results, dataset: str, pack: Path | None, unpack: Path | None) -> Results:
    """Pack and unpack as asked; what is rendered beside an archive is rendered from it."""
    from bench.results import archive
    from bench.results.store import Store

    if pack:
        click.echo(f"{pack}: {archive.pack(source, dataset, pack)} records", err=True)
        source = archive.open_results(pack)
    if unpack:
        count = archive.unpack(source, dataset, Store(unpack))
        click.echo(f"{unpack}: {count} records", err=True)
    return source


def dataset_of(source: Results, *paths: Path | None) -> str:
    """`leaderboards/patches.md` is about `patches`; else it is the one of the results.

    Where they hold several, or nothing, it is the default data set.

    Raises:
        BenchError: several, and the default is none of them.
    """
    if named := next((path for path in paths if path and path.suffix), None):
        return named.name.partition(".")[0]
    held = source.datasets()
    if len(held) > 1 and DEFAULT not in held:
        raise BenchError(f"results of {len(held)} data sets: --dataset with {', '.join(held)}")
    return held[0] if len(held) == 1 else DEFAULT
