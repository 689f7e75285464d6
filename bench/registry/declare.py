"""The decorators by which plug-ins register, and the one table that they register in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import BenchError
from bench.facts import BUDGET, Follows, Knows
from bench.registry.plugin import (
    AttackPlugin,
    Calls,
    DatasetPlugin,
    DefensePlugin,
    GradientCalls,
    Plugin,
    Runs,
    plain_traits,
)
from bench.spec import Settings

if TYPE_CHECKING:
    from bench.data.base import DatasetInfo
    from bench.defense import Traits

F = TypeVar("F", bound=Callable[..., Any])

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
    PLUGINS[plugin.kind][plugin.name] = plugin


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
    surrogate_calls: Callable[[Settings], Calls] = lambda settings: {},
    fits: Callable[[Settings, str], None] = lambda settings, dataset: None,
    misfit: Callable[[Settings, Plugin, DatasetInfo], str | None] = lambda s, classifier, info: (
        None
    ),
    control: bool = False,
) -> Callable[[F], F]:
    """Register `factory(context, *, key=default, ...) -> Purifier` under `name`.

    settings: per data set, what differs from the defaults (name its source beside it).
    The rest are functions of the resolved settings: traits, what the purifier is; weights, the
    files it needs, `{classifier}` in a name for those that belong to one; calls, gradient_calls,
    direction_calls, surrogate_calls and misfit as in `DefensePlugin`, and so is control; fits as in
    `Plugin`.
    """

    def decorate(factory: F) -> F:
        known = traits or (lambda settings: plain_traits())
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
                surrogate_calls=surrogate_calls,
                misfit=misfit,
                control=control,
                fits=fits,
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
    absent: Callable[[Settings, str], str | None] = lambda settings, dataset: None,
    fits: Callable[[Settings, str], None] = lambda settings, dataset: None,
    threat: Callable[[Settings, str], str] = lambda settings, ball: ball,
    software: tuple[str, ...] = (),
    knows: Knows | Callable[[Settings], Knows] = "",
    follows: Follows | Callable[[Settings], Follows] = "",
    budget: tuple[str, ...] = BUDGET,
    noise: bool = False,
    given: bool = False,
    aside: str = "",
    pattern: str = "",
) -> Callable[[F], F]:
    """Register `factory(*, key=default, ...) -> Attack` under `name`.

    settings: keyed by data set, preset (`quick`, `standard`) or `preset@dataset`; the keyword
    defaults are the papers'. uses_dataset: the factory takes the Context first (transfer).
    absent, threat and software: as in `AttackPlugin`; fits and pattern: as in `Plugin`. knows,
    follows, budget, noise, given, aside: what boards read of it (`bench.facts.Facts`).
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
                absent,
                fits=fits,
                threat=threat,
                software=software,
                knows=knows,
                follows=follows,
                budget=budget,
                noise=noise,
                given=given,
                aside=aside,
                pattern=pattern,
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
    pattern: str = "",
    fits: Callable[[Settings, str], None] = lambda settings, dataset: None,
    taps: Callable[[str], tuple[str, ...]] = lambda dataset: (),
) -> Callable[[F], F]:
    """Register `factory(context, *, key=default, ...) -> nn.Module` ([0,1] images to logits).

    pattern, fits and taps: as in `Plugin`.
    """

    def decorate(factory: F) -> F:
        plugin = Plugin("classifier", name, factory, version, source, {}, weights)
        _register(replace(plugin, pattern=pattern, fits=fits, taps=taps))
        return factory

    return decorate


def dataset(name: str, *, info: DatasetInfo, version: int = 1) -> Callable[[F], F]:
    """Register `factory() -> Dataset` under `name`."""

    def decorate(factory: F) -> F:
        _register(DatasetPlugin("dataset", name, factory, version, info=info))
        return factory

    return decorate
