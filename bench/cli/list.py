"""`bench list`: what is registered, and what is broken."""

from __future__ import annotations

import json
from typing import Any

import click

KINDS = {
    "defenses": "defense",
    "attacks": "attack",
    "classifiers": "classifier",
    "datasets": "dataset",
}


@click.command("list")
@click.argument("kind", default="", metavar="[defenses|attacks|classifiers|datasets]")
@click.option("--json", "as_json", is_flag=True)
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def list_command(kind: str, as_json: bool, plugins: tuple[str, ...]) -> None:
    """List everything that can be named, with its settings."""
    from bench import registry
    from bench.errors import unknown

    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    registry.load(plugins)
    wanted = {kind: KINDS[kind]} if kind else KINDS
    listing = {plural: _entries(singular) for plural, singular in wanted.items()}
    broken = [{"where": b.where, "reason": b.reason} for b in registry.broken()]
    if as_json:
        click.echo(json.dumps({**listing, "broken": broken}, indent=1))
        return
    for plural, entries in listing.items():
        click.echo(f"{plural}:")
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            settings = ", ".join(f"{k}={v}" for k, v in entry["settings"].items())
            click.echo(f"  {entry['name']:<{width}}  {entry['summary']}")
            if settings:
                click.echo(f"  {'':<{width}}  {settings}")
    for item in broken:
        click.echo(f"broken: {item['where']}: {item['reason']}", err=True)


def _entries(kind: str) -> list[dict[str, Any]]:
    from bench import registry
    from bench.spec import show

    entries = []
    for name in registry.names(kind):
        plugin = registry.find(kind, name)
        settings = {key: show(value) for key, value in plugin.defaults.items()}
        entries.append(
            {
                "name": name,
                "summary": plugin.summary,
                "source": plugin.source,
                "version": plugin.version,
                "settings": settings,
            }
        )
    return entries
