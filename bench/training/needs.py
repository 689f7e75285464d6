"""From what a user names to the weights that have to be trained for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args, get_origin

from bench import api
from bench.api import OWNER, Context, Plugin, owned
from bench.api.images import DatasetInfo
from bench.errors import BenchError
from bench.measure import build
from bench.models.zoo.weights import SUFFIX, find, manifest
from bench.spec import DEFAULT_CLASSIFIER, NO_PURIFIER, Part, parse_defense, split_list
from bench.training import names as named
from bench.training.names import NOTHING, names, recipe_name, require_defense
from bench.training.recipes import ADD_ONS, Recipe, recipe


@dataclass(frozen=True)
class Need:
    """Weights to train: the name of their recipe and, where that asks for one, a classifier."""

    recipe: str
    classifier: Part | None = None
    """With its settings resolved."""
    asked_by: Part | None = field(default=None, compare=False)
    """The purifier that reads them, where one was named."""

    @property
    def name(self) -> str:
        """The name of the weights."""
        return owned(self.recipe, self.classifier) if self.classifier else self.recipe

    @property
    def spec(self) -> str:
        """What `bench train` calls them: a name, or `aid@madry`."""
        family = self.recipe.removesuffix(f"-{OWNER}")
        return f"{family}@{self.classifier}" if self.classifier else family


def needed(specs: Iterable[str], dataset: str) -> list[Need]:
    """The weights behind `specs` on a data set, each once, in the order of need.

    A spec is the name of weights (`score`, `aid-madry`, or `aid@madry` for any classifier), `all`,
    or a defense (`adp`, `none@madry`), for which its plug-ins and its classifier say what they
    need. Raises BenchError for anything else.
    """
    found: list[Need] = []
    recipes = _recipes(dataset)
    for text in split_list(specs):
        if text == "all":
            found += [Need(name) for name in recipes]
            found += _packagedadd_ons(dataset)
        elif (name := recipe_name(text, dataset)) in recipes:
            found.append(Need(name))
        elif (need := add_ons(dataset).get(text) or _add_on(text, dataset)) is not None:
            found += _with_classifier(need, dataset)
        else:
            found += _of_defense(text, dataset)
    if not found:
        raise BenchError(NOTHING)
    return list(dict.fromkeys(found))


def _recipes(dataset: str) -> list[str]:
    info = api.find_dataset(dataset).info
    return names(info) if info else []


def add_ons(dataset: str) -> dict[str, Need]:
    """By name, the weights of every add-on for every named classifier that offers taps."""
    known = api.names("classifier")
    owners = [Part(name) for name in known if api.find_classifier(name).taps(dataset)]
    needs = [Need(recipe, owner) for recipe in ADD_ONS for owner in owners]
    return {need.name: need for need in needs}


def _packagedadd_ons(dataset: str) -> list[Need]:
    """Those that the package has, and those of the default classifier."""
    shipped = manifest(dataset)
    default = Part(DEFAULT_CLASSIFIER)
    usual = {name: n for name, n in add_ons(dataset).items() if n.recipe in named.ADD_ONS}
    return [need for name, need in usual.items() if name in shipped or need.classifier == default]


def _add_on(text: str, dataset: str) -> Need | None:
    """`aid-code@madry`, where `aid-code` is no defense."""
    family, at, classifier = text.partition("@")
    recipe = f"{family}-{OWNER}"
    if recipe not in ADD_ONS or family in api.names("defense"):
        return None
    part = parse_defense(f"{NO_PURIFIER}@{classifier if at else DEFAULT_CLASSIFIER}").classifier
    return Need(recipe, _classifier(part, dataset)[1])


def _classifier(part: Part, dataset: str) -> tuple[Plugin, Part]:
    plugin = api.find_classifier(part.name)
    return plugin, plugin.resolve(part, dataset)


def _with_classifier(need: Need, dataset: str) -> Iterator[Need]:
    if need.classifier is not None:
        yield from _of_classifier(need.classifier, dataset)
    yield need


def _of_classifier(part: Part, dataset: str) -> Iterator[Need]:
    plugin, resolved = _classifier(part, dataset)
    if plugin.pattern:
        return  # a file from elsewhere, nothing to train
    yield from (Need(name) for name in plugin.weights(dict(resolved.settings)))


def _of_defense(text: str, dataset: str) -> Iterator[Need]:
    require_defense(text, dataset)
    spec = parse_defense(text)
    classifier = _classifier(spec.classifier, dataset)[1]
    for part in spec.parts:
        plugin = api.find_defense(part.name)
        for name in plugin.weights(dict(plugin.resolve(part, dataset).settings)):
            if OWNER in name:
                yield from _with_classifier(Need(name, classifier), dataset)
            else:
                yield Need(name, asked_by=part)
    yield from _of_classifier(spec.classifier, dataset)


def recipe_of(need: Need, info: DatasetInfo) -> Recipe:
    """How the weights are made; BenchError where nobody knows, with what there is instead."""
    part, known = need.asked_by, names(info)
    if part is None or not known or need.name in known:
        return recipe(need.name, info)
    others = _others(part, info.name, known)
    ways = [f"bench train {other} --dataset {info.name}" for other in others]
    small = api.compact(info.name)
    if small and need.name in _recipes(small):
        ways.append(f"bench train {part} --dataset {small}")
    raise BenchError(
        f"{part} reads the weights '{need.name}', for which there is no recipe on {info.name}; "
        + (f"there is one for: {'; '.join(ways)}" if ways else f"there are: {', '.join(known)}")
    )


def _others(part: Part, dataset: str, known: Collection[str]) -> list[Part]:
    """The same purifier with one other choice, whose weights can be trained on a data set."""
    plugin = api.find_defense(part.name)
    found = []
    for key, hint in plugin.hints.items():
        literal = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        for choice in get_args(literal) if get_origin(literal) is Literal else ():
            asked = {**dict(part.settings), key: choice}
            other = Part(part.name, tuple(asked.items()))
            with suppress(BenchError):
                weights = plugin.weights(dict(plugin.resolve(other, dataset).settings))
                if weights and set(weights) <= set(known):
                    found.append(other)
    return found


def context(need: Need, dataset: str, folder: Path | None, device: str = "cpu") -> Context:
    """What an add-on is trained in: its classifier is that of `folder`, where it lies there."""
    assert need.classifier is not None
    plugin = api.find_classifier(need.classifier.name)
    names = plugin.weights(dict(need.classifier.settings))
    files = {name: folder / f"{name}{SUFFIX}" for name in names} if folder else {}
    there = {name: file for name, file in files.items() if file.is_file()}
    return build.behind(need.classifier, build.context(dataset, device, there))


def exists(need: Need, dataset: str, folder: Path | None) -> bool:
    """Whether those weights are whole in `folder`, or wherever `find` looks without one.

    Those of another classifier than the one that is there do not count.
    """
    try:
        path = None if folder is None else folder / f"{need.name}{SUFFIX}"
        weights = find(dataset, need.name, path)
        if need.classifier is None:
            return True
        base = context(need, dataset, folder).behind
        return weights.metadata.get("classifier_sha256") == base.sha256()
    except BenchError:
        return False
