"""What a measurement is made of: weight files (also those of every choice), code, networks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

import torch

from bench.api import (
    OWNER,
    AttackPlugin,
    ClassifierPlugin,
    Context,
    DatasetPlugin,
    DefensePlugin,
    Plugin,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    names,
    owned,
)
from bench.api.code import code_of, outside
from bench.api.images import Images, Rows
from bench.compute.fingerprint import fingerprint
from bench.errors import BenchError
from bench.files.paths import data_root
from bench.measure import build
from bench.models.zoo.weights import manifest
from bench.results.store import SHARD
from bench.spec import DEFAULT_CLASSIFIER, DefenseSpec, Part, parse_defense, parse_part


def is_file(name: str) -> bool:
    """Whether a name of `weights_used` is of a weight file, not of code or a network."""
    return " of " not in name


def weights_used(
    defense: DefenseSpec | str,
    attack: Part | str | None,
    where: Context | str,
    overrides: Mapping[str, Path | str] | None = None,
) -> dict[str, str]:
    """The sha256 by name of every weight file that a defense, and an attack on it, reads.

    Of plug-ins from outside of the project also that of their code, and of the networks and images
    that they give; of an attack, of the images that it reads (`reads`). where: a context, or a data
    set's name with `overrides` as in `build.context`.

    Raises:
        BenchError: weights that are missing, or a plug-in from outside that cannot be built.
    """
    if isinstance(where, str):
        where = build.context(where, weights_override=overrides)
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    bare, where = where, build.behind(spec.classifier, where)
    tried: list[tuple[Plugin, Part]] = [(find_defense(part.name), part) for part in spec.parts]
    tried.append((find_classifier(spec.classifier.name), spec.classifier))
    if attack is not None:
        part = parse_part(attack) if isinstance(attack, str) else attack
        tried.append((find_attack(part.name), part))
    resolved = [(plugin, plugin.resolve(part, where.dataset)) for plugin, part in tried]
    needed = {name for plugin, part in resolved for name in plugin.weights(dict(part.settings))}
    found = (where.weights(name) for name in needed)
    files = {weights.name: weights.sha256 for weights in sorted(found, key=lambda w: w.name)}
    tried.append((find_dataset(where.dataset), Part(where.dataset)))
    strange = [(plugin, part) for plugin, part in tried if outside(plugin)]
    codes: dict[str, str] = {}
    for plugin, _ in strange:
        name, digest = f"code of {plugin.name}", code_of(plugin)
        if codes.setdefault(name, digest) != digest:  # of another kind and the same name
            codes[f"code of {plugin.kind} {plugin.name}"] = digest
    behind = find_classifier(spec.classifier.name)
    own = behind.code(dict(behind.resolve(spec.classifier, where.dataset).settings))
    codes |= {f"code of {name}": digest for name, digest in own.items()}
    codes |= {
        f"images of {plugin.name}": _images(plugin.name, str(data_root()))
        for plugin, _ in strange
        if isinstance(plugin, DatasetPlugin)
    }
    for plugin, part in resolved:
        if isinstance(plugin, AttackPlugin):
            read = plugin.reads(dict(part.settings))
            codes |= {f"images of {name}": digest for name, digest in read.items()}
    return files | dict(sorted(codes.items())) | _networks(strange, spec.classifier, bare)


@cache
def code_used(defense: str, attack: str, dataset: str) -> Mapping[str, str]:
    """A digest by name of the code of the project's own plug-ins, in one measurement."""
    spec = parse_defense(defense)
    used: list[Plugin] = [find_defense(part.name) for part in spec.parts]
    used += [find_classifier(spec.classifier.name), find_attack(parse_part(attack).name)]
    used.append(find_dataset(dataset))
    return {plugin.name: code_of(plugin)[:16] for plugin in used if not outside(plugin)}


@cache
def _images(dataset: str, root: str) -> str:
    """The digest of a data set's labels and images.

    Of what is read by rows and has no digest of its own, of the first images.
    """
    found = build.dataset(dataset).read("test")
    if isinstance(found, Rows) and found.digest is not None:
        return fingerprint([found.y, found.block, torch.tensor(list(found.digest().encode()))])
    first = found if isinstance(found, Images) else found.take(range(min(SHARD, len(found))))
    return fingerprint([found.y, found.block, first])


def _networks(
    strange: Sequence[tuple[Plugin, Part]], classifier: Part, where: Context
) -> dict[str, str]:
    """The digest by name of what plug-ins from outside build with these settings."""
    found, where = {}, replace(where, device=torch.device("cpu"))
    for plugin, part in strange:
        if isinstance(plugin, ClassifierPlugin):
            found[f"network of {part}"] = _built(part, None, where)
        elif isinstance(plugin, DefensePlugin):
            found[f"network of {part}@{classifier}"] = _built(part, classifier, where)
    return dict(sorted(found.items()))


@cache
def _built(part: Part, classifier: Part | None, where: Context) -> str:
    """Of a purifier on its classifier, or of a classifier alone: built once more, and let go."""
    try:
        if classifier is None:
            return fingerprint(build.classifier(part, where))
        return fingerprint(build.purifier(part, build.behind(classifier, where)))
    except KeyboardInterrupt:
        raise
    except BaseException:  # its shards say why
        return "not built"


def buildable(defenses: Collection[str], dataset: str, overrides: Mapping[str, str]) -> None:
    """Build once, and keep nothing of, all that `defenses` make of weight files.

    Raises:
        BenchError: a weight file does not hold what a defense needs of it.
    """
    context = build.context(dataset, weights_override=overrides)
    parts: dict[Part, dict[Part, None]] = {}
    for spec in map(parse_defense, sorted(defenses)):
        plugins = [(find_defense(part.name), part) for part in spec.parts]
        read = (p for d, p in plugins if d.weights(dict(d.resolve(p, dataset).settings)))
        parts.setdefault(spec.classifier, {}).update(dict.fromkeys(read))
    for classifier, above in parts.items():
        where = build.behind(classifier, context, build.classifier(classifier, context))
        for part in above:
            build.purifier(part, where)


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
