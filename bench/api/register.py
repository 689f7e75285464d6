"""The decorators by which plug-ins register, and the one table that they register in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from bench.api.attack_plugin import AttackPlugin
from bench.api.deferred import become, is_deferred
from bench.api.plugin import ClassifierPlugin, DatasetPlugin, DefensePlugin, Plugin
from bench.errors import BenchError

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")

PLUGINS: dict[str, dict[str, Plugin]] = {
    k: {} for k in ("defense", "attack", "classifier", "dataset")
}
"""By kind and name."""


def _register(plugin: Plugin) -> None:
    known = PLUGINS[plugin.kind].get(plugin.name)
    same = known and (known.factory.__module__, known.factory.__qualname__) == (
        plugin.factory.__module__,
        plugin.factory.__qualname__,
    )
    if known and not same:
        where = known.factory.__module__
        raise BenchError(f"{plugin.kind} '{plugin.name}' is already registered by {where}")
    if known and is_deferred(known):
        become(known, plugin)
    else:
        PLUGINS[plugin.kind][plugin.name] = plugin


def _decorator(
    kind: Callable[Concatenate[str, Callable[..., Any], P], Plugin],
) -> Callable[Concatenate[str, P], Callable[[F], F]]:
    """The decorator that registers a factory by name; its keywords are the plug-in's fields."""

    def declare(name: str, /, *args: P.args, **fields: P.kwargs) -> Callable[[F], F]:
        def decorate(factory: F) -> F:
            _register(kind(name, factory, *args, **fields))
            return factory

        return decorate

    declare.__doc__ = kind.__doc__
    return declare


defense = _decorator(DefensePlugin)
attack = _decorator(AttackPlugin)
classifier = _decorator(ClassifierPlugin)
dataset = _decorator(DatasetPlugin)
