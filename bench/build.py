"""Names to warm objects: the only place where weights are read and networks are put together.

What was built is kept for the life of the process, so that a worker loads each network once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn

from bench.attack import Attack
from bench.data.base import Dataset
from bench.defense import Defense, Purifier, Traits
from bench.errors import BenchError
from bench.registry import (
    Context,
    DefensePlugin,
    Plugin,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    names,
)
from bench.spec import DefenseSpec, Part, parse_defense, parse_part
from bench.zoo import weights as zoo

CLASSIFIER = "classifier"
"""The name under which a defense's classifier counts its calls."""


@cache
def dataset(name: str) -> Dataset:
    """The data set `name`.

    Raises:
        BenchError: unknown name.
    """
    found: Dataset = find_dataset(name).factory()
    return found


def context(
    dataset: str,
    device: str | torch.device = "cpu",
    weights_override: Mapping[str, Path | str] | None = None,
) -> Context:
    """What factories are handed for `dataset`: weights by name, training images, image shape.

    weights_override: files to use in place of the weights of those names.

    Raises:
        BenchError: unknown data set or device.
    """
    override = tuple(sorted((k, Path(v)) for k, v in (weights_override or {}).items()))
    return _context(dataset, str(device), override)


@cache
def _context(name: str, device: str, override: tuple[tuple[str, Path], ...]) -> Context:
    info = dataset(name).info
    files = dict(override)

    def weights(wanted: str) -> zoo.Weights:
        return zoo.find(name, wanted, files.get(wanted))

    def train() -> Tensor:
        return dataset(name).images("train").x

    return Context(name, info.shape, len(info.classes), _device(device), weights, train)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise BenchError(f"device '{name}' is not available here (try cpu)") from None
    return device


def defense(spec: DefenseSpec | str, context: Context) -> Defense:
    """The defense of a spec such as `adp:sigma=0.1@madry`, settings resolved for the data set.

    Raises:
        BenchError: an unknown name or setting, or weights that are missing or damaged.
    """
    return _defense(str(parse_defense(spec) if isinstance(spec, str) else spec), context)


@cache
def _defense(text: str, context: Context) -> Defense:
    spec = parse_defense(text)
    network = context.network(classifier(spec.classifier, context), CLASSIFIER)
    return Defense(network, [purifier(part, context) for part in spec.parts])


def purifier(part: Part | str, context: Context) -> Purifier:
    """One purifier with its traits, such as `adp:runs=1`; not kept.

    Raises:
        BenchError: as `defense`, or a plug-in whose factory gives something else.
    """
    plugin, settings = _defense_settings(part, context)
    made = plugin.factory(context, **settings)
    if not isinstance(made, Purifier):
        raise BenchError(f"defense '{plugin.name}' gave {type(made).__name__}, not a Purifier")
    made.traits = plugin.traits(settings)
    return made.eval().requires_grad_(False)


def traits(part: Part | str, context: Context) -> Traits:
    """What the plug-in declares of a purifier; reads no weights."""
    plugin, settings = _defense_settings(part, context)
    return plugin.traits(settings)


def classifier(part: Part | str, context: Context) -> nn.Module:
    """A named classifier, [B,C,H,W] in [0,1] to logits.

    Raises:
        BenchError: an unknown name, with those that exist, or weights that are missing or damaged.
    """
    plugin, settings = _classifier_settings(part, context)
    made: nn.Module = plugin.factory(context, **settings)
    _probe(str(part), made, context)
    return made


def _probe(name: str, network: nn.Module, context: Context) -> None:
    """Refuse a network that does not answer an image with one logit per class."""
    image = torch.zeros(1, *context.shape)
    if (parameter := next(network.parameters(), None)) is not None:
        image = image.to(parameter.device)
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(image).shape)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"classifier '{name}' does not take an image: {reason}") from None
    if shape != (1, context.classes):
        raise BenchError(
            f"classifier '{name}' gives {shape} for an image of '{context.dataset}', not "
            f"{(1, context.classes)}: are its weights those of another network?"
        )


def attack(part: Part | str, context: Context, preset: str = "") -> Attack:
    """The attack of a spec such as `bpda-eot:steps=100`, settings resolved for data set and preset.

    Raises:
        BenchError: an unknown name or setting.
    """
    part = parse_part(part) if isinstance(part, str) else part
    return _attack(str(part), context, preset)


@cache
def _attack(text: str, context: Context, preset: str) -> Attack:
    part = parse_part(text)
    plugin = find_attack(part.name)
    settings: dict[str, Any] = dict(plugin.resolve(part, context.dataset, preset).settings)
    made: Attack = (
        plugin.factory(context, **settings) if plugin.uses_dataset else plugin.factory(**settings)
    )
    return made


def weights_used(
    defense: DefenseSpec | str,
    attack: Part | str | None,
    where: Context | str,
    overrides: Mapping[str, Path | str] | None = None,
) -> dict[str, str]:
    """The sha256 by name of every weight file that a defense, and an attack on it, reads.

    where: a context, or a data set's name with `overrides` as in `context`.
    """
    if isinstance(where, str):
        where = context(where, weights_override=overrides)
    spec = parse_defense(defense) if isinstance(defense, str) else defense
    tried: list[tuple[Plugin, dict[str, Any]]] = [
        *(_defense_settings(part, where) for part in spec.parts),
        _classifier_settings(spec.classifier, where),
    ]
    if attack is not None:
        part = parse_part(attack) if isinstance(attack, str) else attack
        plugin = find_attack(part.name)
        tried.append((plugin, dict(plugin.resolve(part, where.dataset).settings)))
    needed = {name for plugin, settings in tried for name in plugin.weights(settings)}
    return {name: where.weights(name).sha256 for name in sorted(needed)}


def known_weights() -> list[str]:
    """Every weight name that some choice of a defense, attack or classifier needs, sorted."""
    plugins: list[Plugin] = [find_defense(name) for name in names("defense")]
    plugins += [find_attack(name) for name in names("attack")]
    plugins += [find_classifier(name) for name in names("classifier")]
    return sorted({name for plugin in plugins for name in _any_weights(plugin)})


def _any_weights(plugin: Plugin) -> Iterator[str]:
    yield from plugin.weights(plugin.defaults)
    for key, hint in plugin.hints.items():
        if get_origin(hint) is Literal:
            for choice in get_args(hint):
                yield from plugin.weights({**plugin.defaults, key: choice})


def _defense_settings(part: Part | str, context: Context) -> tuple[DefensePlugin, dict[str, Any]]:
    part = parse_part(part) if isinstance(part, str) else part
    plugin = find_defense(part.name)
    return plugin, dict(plugin.resolve(part, context.dataset).settings)


def _classifier_settings(part: Part | str, context: Context) -> tuple[Plugin, dict[str, Any]]:
    part = parse_part(part) if isinstance(part, str) else part
    plugin = find_classifier(part.name)
    return plugin, dict(plugin.resolve(part, context.dataset).settings)
