"""`bench check`: the contract of every plug-in, on the small data set."""

from __future__ import annotations

import click


@click.command("check")
@click.argument("name", metavar="NAME")
@click.option("--dataset", default="digits", show_default=True, metavar="NAME")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def check_command(name: str, dataset: str, plugins: tuple[str, ...]) -> int:
    """Run the contract on a defense, an attack or a classifier (a spec such as adp:sigma=0)."""
    from bench import contract, registry

    registry.load(plugins)
    results = contract.check(name, dataset)
    for result in results:
        click.echo(f"{'ok  ' if result.ok else 'FAIL'}  {result.name}: {result.detail}")
    failed = sum(not result.ok for result in results)
    click.echo(f"{name}: {len(results) - failed} of {len(results)} checks passed")
    return 2 if failed else 0
