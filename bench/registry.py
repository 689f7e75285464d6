"""Where plug-ins register, and how they are found.

Every module in `defenses/` and `attacks/`, every entry point of the group `purifybench.plugins`
and every `--plugin FILE` is imported once. One that fails to import is listed as broken with its
reason; the rest works.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from bench.errors import BenchError, unknown
from bench.spec import Part, Settings, Value, resolve

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.data.base import DatasetInfo
    from bench.defense import Network, Traits
    from bench.zoo.weights import Weights

PRESETS = ("quick", "standard", "paper")
ENTRY_POINTS = "purifybench.plugins"
F = TypeVar("F", bound=Callable[..., Any])
Calls = Mapping[str, int]
GradientCalls = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Context:
    """What a factory is handed: where its networks come from and what images look like.

    shape is (C, H, W). `weights(name)` finds, verifies and returns a weight file; `train()`
    returns training images [N,C,H,W] in [0,1] for purifiers that are fitted in closed form.
    """

    dataset: str
    shape: tuple[int, int, int]
    classes: int
    device: torch.device
    weights: Callable[[str], Weights]
    train: Callable[[], torch.Tensor]

    def network(
        self, module: nn.Module, name: str, call: Callable[..., torch.Tensor] | None = None
    ) -> Network:
        """`module` on the device, frozen, chunked and counted under `name`."""
        from bench.defense import Network

        return Network(module.to(self.device), name, call)


@dataclass(frozen=True)
class Plugin:
    """A registered factory. Its keyword defaults are its configuration.

    `tables` maps a data set (or a preset, or `preset@data set`) to the settings it changes.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    version: int = 1
    source: str = ""
    tables: Mapping[str, Settings] = field(default_factory=dict)
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: ()

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Declared type of every setting, in the order of the signature."""
        hints = get_type_hints(self.factory, include_extras=True)
        return {key: hints.get(key, str) for key in self.defaults}

    @cached_property
    def defaults(self) -> dict[str, Value]:
        """The factory's keyword-only defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def resolve(self, part: Part, dataset: str, preset: str = "") -> Part:
        """Every setting of this plug-in: keyword < data set < preset < typed (docs/semantics.md).

        Raises:
            BenchError: an unknown key or a value of the wrong type or range.
        """
        tables = (self.tables.get(key, {}) for key in (dataset, preset, f"{preset}@{dataset}"))
        settings = resolve(self.name, self.hints, (self.defaults, *tables), dict(part.settings))
        return Part(self.name, tuple(settings.items()))


@dataclass(frozen=True)
class DefensePlugin(Plugin):
    """A purifier: its traits and its network calls are functions of its settings.

    calls: network -> forwards of one run. gradient_calls: network -> (forwards computed again,
    backwards) of one exact gradient; without it, plain autograd. direction_calls: network ->
    forwards of one `direction`. All per image, and at most, where a run may end early.
    """

    traits: Callable[[Settings], Traits] = lambda settings: _plain_traits()
    calls: Callable[[Settings], Calls] = lambda settings: {}
    gradient_calls: Callable[[Settings], GradientCalls] | None = None
    direction_calls: Callable[[Settings], Calls] = lambda settings: {}

    def gradient(self, settings: Settings) -> GradientCalls:
        """Network calls of one exact gradient, on top of those of the run."""
        if self.gradient_calls is None:
            return {name: (0, count) for name, count in self.calls(settings).items()}
        return self.gradient_calls(settings)


@dataclass(frozen=True)
class Runs:
    """What an attack asks of a defense, per image; at most, where it may end early.

    plain: runs without gradient. bpda: runs with the classifier's gradient only. exact: runs with
    the gradient through the purifier too. blind: gradients of the bare classifier. purified: runs
    of the purifier alone. direction: directions. luck: plain runs that are asked only to refute
    lucky draws, at the very worst.
    """

    plain: float = 0
    bpda: float = 0
    exact: float = 0
    blind: float = 0
    purified: float = 0
    direction: float = 0
    luck: float = 0


@dataclass(frozen=True)
class AttackPlugin(Plugin):
    """An attack: which balls it can attack, where it makes no sense, what it costs.

    skip(settings, traits): why it makes no sense against such a defense, or nothing.
    cost(settings, traits): the runs that it asks of such a defense.
    variants(settings): attacked versions of each image that the judge scores (corruptions).
    """

    norms: tuple[str, ...] = ("linf", "l2")
    skip: Callable[[Settings, Traits], str | None] = lambda settings, traits: None
    cost: Callable[[Settings, Traits], Runs] = lambda settings, traits: Runs()
    variants: Callable[[Settings], int] = lambda settings: 1
    uses_dataset: bool = False


@dataclass(frozen=True)
class DatasetPlugin(Plugin):
    """A data set with its torch-free facts."""

    info: DatasetInfo | None = None


@dataclass(frozen=True)
class Broken:
    """A plug-in that could not be imported, and why, in one line."""

    where: str
    reason: str


_PLUGINS: dict[str, dict[str, Plugin]] = {
    k: {} for k in ("defense", "attack", "classifier", "dataset")
}
_BROKEN: list[Broken] = []
_LOADED: set[str] = set()


def _register(plugin: Plugin) -> None:
    known = _PLUGINS[plugin.kind].get(plugin.name)
    same = known and (known.factory.__module__, known.factory.__qualname__) == (
        plugin.factory.__module__,
        plugin.factory.__qualname__,
    )
    if known and not same:
        where = known.factory.__module__
        raise BenchError(f"{plugin.kind} '{plugin.name}' is already registered by {where}")
    _PLUGINS[plugin.kind][plugin.name] = plugin


def defense(
    name: str,
    *,
    version: int = 1,
    source: str = "",
    settings: Mapping[str, Settings] | None = None,
    traits: Callable[[Settings], Traits] | None = None,
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: (),
    calls: Callable[[Settings], Calls] = lambda settings: {},
    gradient_calls: Callable[[Settings], GradientCalls] | None = None,
    direction_calls: Callable[[Settings], Calls] = lambda settings: {},
) -> Callable[[F], F]:
    """Register `factory(context, *, key=default, ...) -> Purifier` under `name`.

    settings: per data set, what differs from the defaults (name its source beside it).
    The rest are functions of the resolved settings: traits, what the purifier is; weights, the
    files it needs; calls, gradient_calls and direction_calls as in `DefensePlugin`.
    """

    def decorate(factory: F) -> F:
        known = traits or (lambda settings: _plain_traits())
        _register(
            DefensePlugin(
                "defense",
                name,
                factory,
                version,
                source,
                settings or {},
                weights,
                known,
                calls,
                gradient_calls,
                direction_calls,
            )
        )
        return factory

    return decorate


def attack(
    name: str,
    *,
    version: int = 1,
    source: str = "",
    settings: Mapping[str, Settings] | None = None,
    norms: tuple[str, ...] = ("linf", "l2"),
    skip: Callable[[Settings, Traits], str | None] = lambda settings, traits: None,
    cost: Callable[[Settings, Traits], Runs] = lambda settings, traits: Runs(),
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: (),
    variants: Callable[[Settings], int] = lambda settings: 1,
    uses_dataset: bool = False,
) -> Callable[[F], F]:
    """Register `factory(*, key=default, ...) -> Attack` under `name`.

    settings: keyed by data set, preset (`quick`, `standard`) or `preset@dataset`; the keyword
    defaults are the papers'. uses_dataset: the factory takes the Context first (transfer).
    """

    def decorate(factory: F) -> F:
        _register(
            AttackPlugin(
                "attack",
                name,
                factory,
                version,
                source,
                settings or {},
                weights,
                norms,
                skip,
                cost,
                variants,
                uses_dataset,
            )
        )
        return factory

    return decorate


def classifier(
    name: str,
    *,
    version: int = 1,
    source: str = "",
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: (),
) -> Callable[[F], F]:
    """Register `factory(context, *, key=default, ...) -> nn.Module` ([0,1] images to logits)."""

    def decorate(factory: F) -> F:
        _register(Plugin("classifier", name, factory, version, source, {}, weights))
        return factory

    return decorate


def dataset(name: str, *, info: DatasetInfo, version: int = 1) -> Callable[[F], F]:
    """Register `factory() -> Dataset` under `name`."""

    def decorate(factory: F) -> F:
        _register(DatasetPlugin("dataset", name, factory, version, info=info))
        return factory

    return decorate


def load(files: Iterable[str] = ()) -> None:
    """Import every plug-in once: the project's folders, entry points, then `files`.

    Raises:
        BenchError: a file of `files` does not exist or fails to import (it was named).
    """
    _load_house()
    for file in files:
        _import_file(Path(file))


@cache
def _load_house() -> None:
    for package in ("bench.data", "defenses", "attacks"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            _import(f"{package}.{module.name}")
    _import("bench.classifiers")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        _import(point.module)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        _BROKEN.append(Broken(name, _one_line(error)))


def _import_file(path: Path) -> None:
    where = str(path.resolve())
    if where in _LOADED:
        return
    if not path.is_file():
        raise BenchError(f"plug-in file '{path}' does not exist")
    spec = importlib.util.spec_from_file_location(f"plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BenchError(f"plug-in '{path}' is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BenchError(f"plug-in '{path}' fails to import: {_one_line(error)}") from None
    _LOADED.add(where)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def broken() -> tuple[Broken, ...]:
    """The plug-ins that failed to import."""
    load()
    return tuple(_BROKEN)


def names(kind: str) -> list[str]:
    """Registered names of a kind, sorted."""
    load()
    return sorted(_PLUGINS[kind])


def find(kind: str, name: str) -> Plugin:
    """The plug-in `name` of a kind, or a BenchError with the nearest name."""
    return _find(kind, name, Plugin)


def find_defense(name: str) -> DefensePlugin:
    """The purifier `name`, or a BenchError with the nearest name."""
    return _find("defense", name, DefensePlugin)


def find_attack(name: str) -> AttackPlugin:
    """The attack `name`, or a BenchError with the nearest name."""
    return _find("attack", name, AttackPlugin)


def find_classifier(name: str) -> Plugin:
    """The classifier `name`, or a BenchError with the nearest name."""
    return _find("classifier", name, Plugin)


def find_dataset(name: str) -> DatasetPlugin:
    """The data set `name`, or a BenchError with the nearest name."""
    return _find("dataset", name, DatasetPlugin)


P = TypeVar("P", bound=Plugin)


def _find(kind: str, name: str, expected: type[P]) -> P:
    load()
    plugin = _PLUGINS[kind].get(name)
    if isinstance(plugin, expected):
        return plugin
    failed = [b for b in _BROKEN if b.where.rpartition(".")[2] == name.replace("-", "_")]
    if failed:
        raise BenchError(f"{kind} '{name}' is broken: {failed[0].reason}")
    raise unknown(kind, name, _PLUGINS[kind])


def _plain_traits() -> Traits:
    from bench.defense import Traits

    return Traits()
