"""Names to warm objects: the only place where weights are read and networks are put together.

What was built is kept for the life of the process, so that a worker loads each network once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.api import (
    OWNER,
    Base,
    ClassifierPlugin,
    Context,
    DefensePlugin,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    owned,
)
from bench.api.attacked import Attack
from bench.api.context import Weights
from bench.api.images import Dataset, DatasetInfo
from bench.api.purifier import CLASSIFIER, Defense, Network, Purifier, Traits
from bench.compute.device import one
from bench.compute.surroundings import as_before
from bench.errors import BenchError
from bench.files.bounded import json_of
from bench.measure.guard import Kept
from bench.measure.resize import fitted
from bench.models.nets.normalised import Normalised, has_features
from bench.models.zoo import weights as zoo
from bench.spec import DEFAULT_CLASSIFIER, DefenseSpec, Part, parse_defense, parse_part

T = TypeVar("T")


@cache
def dataset(name: str) -> Dataset:
    """The data set `name`.

    Raises:
        BenchError: unknown name.
    """
    with as_before():
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

    def weights(wanted: str) -> Weights:
        found = zoo.find(name, wanted, files.get(wanted))
        _require_images_of(info, found)
        return found

    def train() -> Tensor:
        return dataset(name).images("train").x.clone()

    return Context(name, info.shape, len(info.classes), one(device), weights, train)


def _require_images_of(info: DatasetInfo, weights: Weights) -> None:
    """Refuse, by its own words, a network of other images, before it is built."""
    try:
        arguments = dict(json_of(weights.metadata.get("arguments", "{}")))
    except (ValueError, TypeError):
        return  # whoever builds the network says what is wrong with the file
    expected = {"channels": info.shape[0], "image_size": info.shape[1]}
    for key, value in expected.items():
        if arguments.get(key, value) != value:
            raise BenchError(
                f"weights {weights.path} are of a network with {key}={arguments[key]}; images of "
                f"'{info.name}' have {key}={value}"
            )


def behind(part: Part | str, context: Context, network: nn.Module | None = None) -> Context:
    """`context` for add-ons to the classifier `part`; `network` is that classifier, if built.

    Names of weights may hold `{classifier}` there: they are of the classifier that is named, and
    a file that was trained on another one is refused.
    """
    plugin, settings = _classifier_settings(part, context)
    resolved = Part(plugin.name, tuple(settings.items()))

    @cache
    def module() -> nn.Module:
        built = classifier(resolved, context) if network is None else network
        return built.to(context.device).eval().requires_grad_(False)

    def sha256() -> str:
        found = [context.weights(name).sha256 for name in plugin.weights(settings)]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    def taps() -> tuple[str, ...]:
        if plugin.pattern.startswith(zoo.FILE):
            return _taps(module(), context)
        return plugin.taps(context.dataset)

    base = Base(resolved, taps, module, sha256)
    return replace(context, base=base, weights=_of(base, context))


def _of(base: Base, context: Context) -> Callable[[str], Weights]:
    """`context.weights` that fills `{classifier}` in and refuses weights of another classifier."""

    def weights(name: str) -> Weights:
        if OWNER not in name:
            return context.weights(name)
        filled = owned(name, base.part)
        spec = f"{name.removesuffix(f'-{OWNER}')}@{base.part}"
        how = f"bench train {spec} --dataset {context.dataset}"
        try:
            found = context.weights(filled)
        except zoo.MissingError:  # the name of such a file may not lead back to a classifier
            if not base.taps():
                raise BenchError(
                    f"no weights '{filled}', and none can be trained: classifier '{base.part}' "
                    "offers no maps to an add-on"
                ) from None
            raise zoo.MissingError(context.dataset, filled, spec) from None
        of = found.metadata.get("classifier_sha256")
        if of is None and "network" in found.metadata:
            raise BenchError(
                f"weights {found.path} are of network '{found.metadata['network']}' and belong to "
                f"no classifier, '{filled}' must belong to '{base.part}'; train them: {how}"
            )
        if of not in (None, base.sha256()):
            raise BenchError(
                f"weights {found.path} belong to another classifier than '{base.part}' "
                f"(sha256 {str(of)[:12]}, this one has {base.sha256()[:12]}); train them again: "
                f"{how}"
            )
        return found

    return weights


@torch.no_grad()
def _taps(network: nn.Module, context: Context) -> tuple[str, ...]:
    """Of a network that no entry describes: its first map and the last one of every group."""
    inside = network.network if isinstance(network, Normalised) else network
    if not has_features(network) or not has_features(inside):
        return ()
    try:
        maps: object = network.features(torch.zeros(1, *context.shape, device=context.device))
    except Exception:  # a class of somebody's own may call anything so
        return ()
    if not isinstance(maps, Mapping):
        return ()
    return tuple({name.partition(".")[0]: name for name in maps}.values())


def defense(spec: DefenseSpec | str, context: Context) -> Defense:
    """The defense of a spec such as `adp:sigma=0.1@madry`, settings resolved for the data set.

    Raises:
        BenchError: an unknown name or setting, or weights that are missing or damaged.
    """
    text = str(parse_defense(spec) if isinstance(spec, str) else spec)
    return _as_built(lambda: _defense(text, context))


def _as_built(find: Callable[[], tuple[T, Kept]]) -> T:
    """A warm object as it was built, whatever happened to it since; built anew where it must be."""
    warm, kept = find()
    if kept.put_back():
        forget()
        warm, _ = find()
    return warm


@cache
def _defense(text: str, context: Context) -> tuple[Defense, Kept]:
    spec = parse_defense(text)
    network = network_of(spec.classifier, context)
    context = behind(spec.classifier, context, network.module)
    made = Defense(network, [purifier(part, context) for part in spec.parts])
    return made, Kept(defense=made)


def forget() -> None:
    """Let go of every defense and attack that was kept, and so of the memory of its networks."""
    _defense.cache_clear()
    _attack.cache_clear()


def purifier(part: Part | str, context: Context) -> Purifier:
    """One purifier with its traits, such as `adp:runs=1`; not kept.

    An add-on without a classifier behind it (`behind`) stands on the default one.

    Raises:
        BenchError: as `defense`, or a plug-in whose factory gives something else.
    """
    plugin, settings = _defense_settings(part, context)
    context = context if context.base else behind(DEFAULT_CLASSIFIER, context)
    with as_before():
        made = plugin.made(context, settings)
    if not isinstance(made, Purifier):
        raise BenchError(f"defense '{plugin.name}' gave {type(made).__name__}, not a Purifier")
    made.traits = plugin.traits(settings)
    return fitted(made, context.shape[-1]).eval().requires_grad_(False)


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
    with as_before():
        made: nn.Module = plugin.factory(context, **settings)
    _probe(str(part), made, context)
    return made


def network_of(part: Part | str, context: Context) -> Network:
    """A named classifier behind its door, as defenses ask it.

    Raises:
        BenchError: as `classifier`.
    """
    plugin, settings = _classifier_settings(part, context)
    random = plugin.is_random(settings)
    return context.network(classifier(part, context), CLASSIFIER, random=random)


def _probe(name: str, network: nn.Module, context: Context) -> None:
    """Refuse a network that does not answer an image with one logit per class."""
    image = torch.zeros(1, *context.shape)
    if (parameter := next(network.parameters(), None)) is not None:
        image = image.to(parameter.device)
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(image).shape)
    except (RuntimeError, TypeError, AttributeError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
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
    return _as_built(lambda: _attack(str(part), context, preset))


@cache
def _attack(text: str, context: Context, preset: str) -> tuple[Attack, Kept]:
    part = parse_part(text)
    plugin = find_attack(part.name)
    settings: dict[str, Any] = dict(plugin.resolve(part, context.dataset, preset).settings)
    given = (context,) if plugin.uses_dataset else ()
    with as_before():
        made: Attack = plugin.factory(*given, **settings)
    return made, Kept(attack=made)


def _defense_settings(part: Part | str, context: Context) -> tuple[DefensePlugin, dict[str, Any]]:
    part = parse_part(part) if isinstance(part, str) else part
    plugin = find_defense(part.name)
    return plugin, dict(plugin.resolve(part, context.dataset).settings)


def _classifier_settings(
    part: Part | str, context: Context
) -> tuple[ClassifierPlugin, dict[str, Any]]:
    part = parse_part(part) if isinstance(part, str) else part
    plugin = find_classifier(part.name)
    return plugin, dict(plugin.resolve(part, context.dataset).settings)
