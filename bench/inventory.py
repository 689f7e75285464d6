"""Which weight files there have to be: those of one measurement, those of every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from bench import build
from bench.errors import BenchError
from bench.registry import (
    OWNER,
    Context,
    DefensePlugin,
    Plugin,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    names,
    owned,
)
from bench.spec import DEFAULT_CLASSIFIER, DefenseSpec, Part, parse_defense, parse_part
from bench.zoo.weights import manifest


def weights_used(
    defense: DefenseSpec | str,
    attack: Part | str | None,
    where: Context | str,
    overrides: Mapping[str, Path | str] | None = None,
) -> dict[str, str]:
    """The sha256 by name of every weight file that a defense, and an attack on it, reads.

    where: a context, or a data set's name with `overrides` as in `build.context`.
    """
    if isinstance(where, str):
        where = build.context(where, weights_override=overrides)
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    where = build.behind(spec.classifier, where)
    tried: list[tuple[Plugin, Part]] = [(find_defense(part.name), part) for part in spec.parts]
    tried.append((find_classifier(spec.classifier.name), spec.classifier))
    if attack is not None:
        part = parse_part(attack) if isinstance(attack, str) else attack
        tried.append((find_attack(part.name), part))
    resolved = [(plugin, plugin.resolve(part, where.dataset)) for plugin, part in tried]
    needed = {name for plugin, part in resolved for name in plugin.weights(dict(part.settings))}
    found = (where.weights(name) for name in needed)
    return {weights.name: weights.sha256 for weights in sorted(found, key=lambda w: w.name)}


def known_weights(dataset: str) -> list[str]:
    """Every weight name that a defense, attack or classifier needs on a data set, sorted.

    Of embedded data, for every choice that they offer; of fetched data, for the one of their table:
    the papers' networks. Those of an add-on, at its default settings, are asked for on the default
    classifier and on those for which the package has them; others are trained when they are wanted.
    """
    plugins: list[Plugin] = [find_defense(name) for name in names("defense")]
    plugins += [find_attack(name) for name in names("attack")]
    plugins += [find_classifier(name) for name in names("classifier")]
    found = {name for plugin in plugins for name in _any_weights(plugin, dataset)}
    shipped = manifest(dataset)
    owners = [Part(name) for name in names("classifier") if find_classifier(name).taps(dataset)]
    filled = {
        owned(name, owner)
        for name in found
        for owner in owners or [Part(DEFAULT_CLASSIFIER)]
        if OWNER not in name or owner.name == DEFAULT_CLASSIFIER or owned(name, owner) in shipped
    }
    return sorted(filled)


def _any_weights(plugin: Plugin, dataset: str) -> Iterator[str]:
    info = find_dataset(dataset).info
    for part in _choices(plugin, every=info is None or info.embedded):
        try:
            settings = dict(plugin.resolve(part, dataset).settings)
        except BenchError:  # such a choice is not for this data
            continue
        behind = find_classifier(DEFAULT_CLASSIFIER)
        if info and isinstance(plugin, DefensePlugin) and plugin.misfit(settings, behind, info):
            continue
        chosen = plugin.weights(settings)
        yield from (name for name in chosen if not part.settings or OWNER not in name)


def _choices(plugin: Plugin, every: bool) -> Iterator[Part]:
    """The plug-in as the data set's table has it, and where asked for, each of its choices."""
    yield Part(plugin.name)
    for key, hint in plugin.hints.items() if every else ():
        literal = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if get_origin(literal) is Literal:
            yield from (Part(plugin.name, ((key, choice),)) for choice in get_args(literal))
