"""`bench check`: the contract of every plug-in, on the small data set."""

from __future__ import annotations

import click

from bench.cli.common import data_root, weight_files


@click.command("check")
@click.argument("name", metavar="NAME", required=False, default="")
@click.option("--all", "everything", is_flag=True, help="Every plug-in, one line each.")
@data_root
@click.option("--dataset", default="digits", show_default=True, metavar="NAME")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Your own weight file.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def check_command(
    name: str, *, everything: bool, dataset: str, weights: tuple[str, ...], plugins: tuple[str, ...]
) -> int:
    """Run the contract on a defense, an attack or a classifier (a spec such as adp:sigma=0, or
    aid@madry), or on all of them.
    """
    from bench import api, contract
    from bench.errors import BenchError
    from bench.plan.request import find_info

    if everything and name:
        raise BenchError(f"'{name}' and --all exclude each other")
    if not everything and not name:
        raise BenchError("name a plug-in or --all")
    api.load(plugins)
    find_info(dataset)  # with --all a wrong data set is one error, not one for each plug-in
    overrides = dict(weight_files(weights))
    if everything:
        return _all(dataset, overrides)
    results = contract.check(name, dataset, overrides)
    for result in results:
        click.echo(f"{'ok  ' if result.ok else 'FAIL'}  {result.name}: {result.detail}")
    failed = sum(not result.ok for result in results)
    click.echo(f"{name}: {len(results) - failed} of {len(results)} checks passed")
    return 2 if failed else 0


def _all(dataset: str, overrides: dict[str, str]) -> int:
    """A line for every plug-in, and below it one for every check that failed."""
    from bench import contract
    from bench.errors import BenchError

    names, broken = contract.everything(), []
    skipped = {name: why for name in names if (why := contract.unfit(name, dataset))}
    names = [name for name in names if name not in skipped]
    for name in names:
        try:
            results = contract.check(name, dataset, overrides)
        except BenchError as error:
            results = [contract.Check("settings", False, str(error))]
        failed = [result for result in results if not result.ok]
        broken += [name] if failed else []
        passed = f"{len(results) - len(failed)} of {len(results)} checks passed"
        click.echo(f"{'FAIL' if failed else 'ok  '}  {name}: {passed}")
        for result in failed:
            click.echo(f"      {result.name}: {result.detail}")
    for name, why in skipped.items():
        click.echo(f"skip  {name}: {why}")
    passed = f"{len(names) - len(broken)} of {len(names)} plug-ins passed"
    click.echo(passed + (f"; failed: {', '.join(broken)}" if broken else ""))
    return 2 if broken else 0
