"""`bench list`: what is registered, and what is broken."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.stdout import others_to_stderr

if TYPE_CHECKING:
    from bench.api import Plugin

KINDS = {
    "defenses": "defense",
    "attacks": "attack",
    "classifiers": "classifier",
    "datasets": "dataset",
}
TABLES = "tables"
"""The papers' printed ones, which are data and no plug-ins."""


@click.command("list")
@click.argument("kind", default="", metavar="[defenses|attacks|classifiers|datasets|tables]")
@click.option("--dataset", default="", metavar="NAME", help="Settings as resolved for it.")
@click.option("--preset", default="", metavar="NAME", help="Settings as resolved for it.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Of tables: what counts as measured.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def list_command(
    kind: str, *, dataset: str, preset: str, results: Path, as_json: bool, plugins: tuple[str, ...]
) -> None:
    """List everything that can be named, with its settings.

    Settings are the papers' defaults; with --dataset and --preset, what a run would use.
    """
    from bench import api
    from bench.errors import unknown

    if kind == TABLES:
        from bench.cli.papers import list_tables

        list_tables(results, as_json=as_json)
        return
    if kind and kind not in KINDS:
        raise unknown("kind", kind, [*KINDS, TABLES])
    with others_to_stderr():
        api.load(plugins)
    if dataset:
        api.find_dataset(dataset)
    if preset and preset not in api.PRESETS:
        raise unknown("preset", preset, api.PRESETS)
    wanted = {kind: KINDS[kind]} if kind else KINDS
    listing = {
        plural: [
            _entry(api.find(single, name), dataset, preset)
            for name in api.names(single, patterns=True)
        ]
        for plural, single in wanted.items()
    }
    groups = _groups(wanted)
    broken = [{"where": b.where, "reason": b.reason} for b in api.broken()]
    if as_json:
        click.echo(json.dumps({**listing, "groups": groups, "broken": broken}, indent=1))
        return
    for plural, entries in listing.items():
        _print(plural, entries)
        for name, members in groups.get(plural, {}).items():
            click.echo(f"  group {name}: {', '.join(members)}")
    for item in broken:
        click.echo(f"broken: {item['where']}: {item['reason']}", err=True)


def _groups(wanted: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Names for several at once, by kind."""
    from bench.plan.request import defense_groups, groups

    found: dict[str, dict[str, tuple[str, ...]]] = {
        "defenses": {**defense_groups()},
        "attacks": {**groups()},
    }
    return {plural: found[plural] for plural in wanted if plural in found}


def _entry(plugin: Plugin, dataset: str, preset: str) -> dict[str, Any]:
    from bench.api import AttackPlugin, DatasetPlugin
    from bench.plan.plan import controls
    from bench.spec import Part

    unfit = "" if plugin.pattern else plugin.unfit(dataset, preset)
    entry: dict[str, Any] = {
        "name": plugin.pattern or plugin.name,
        "summary": plugin.summary,
        "source": plugin.source or plugin.paper,
        "paper": plugin.paper,
        "link": plugin.link,
        "version": plugin.version,
        "settings": {}
        if plugin.pattern
        else plugin.chosen(Part(plugin.name), "" if unfit else dataset, preset),
        "module": plugin.factory.__module__,
    }
    entry |= {"unfit": unfit} if unfit else {}
    if isinstance(plugin, AttackPlugin):
        entry["norms"] = list(plugin.norms)
        entry |= {} if plugin.pattern else plugin.facts(entry["settings"]).told()
    if isinstance(plugin, DatasetPlugin) and plugin.info is not None:
        info = plugin.info
        facts = ("title", "shape", "classes", "threat", "threats", "draws", "subset")
        entry |= {key: getattr(info, key) for key in facts} | {"controls": controls(info)}
        entry |= {"split": info.split} if info.split else {}
    return entry


def _print(plural: str, entries: list[dict[str, Any]]) -> None:
    from bench.spec import show

    click.echo(f"{plural}:")
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        source = f" ({entry['source']})" if entry["source"] else ""
        click.echo(f"  {entry['name']:<{width}}  {entry.get('title', entry['summary'])}{source}")
        settings = ", ".join(f"{key}={show(value)}" for key, value in entry["settings"].items())
        if "threat" in entry:
            settings = f"{entry['threat']}; controls {', '.join(entry['controls'])}"
        if "split" in entry:
            settings += f"; {entry['split']}"
        if "unfit" in entry:
            settings = f"not here: {entry['unfit']}"
        if settings:
            click.echo(f"  {'':<{width}}  {settings}")
