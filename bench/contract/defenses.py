"""The contract of purifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from bench import api
from bench.api.purifier import Network, Purifier
from bench.contract.asked import Check
from bench.contract.common import (
    close,
    images_of,
    leaves,
    one_line,
    require,
    run,
    same_seed,
    seeds,
    settings_typed,
)
from bench.errors import BenchError
from bench.measure import build, probe
from bench.spec import Part

ROUNDING = 1e-4
"""Largest difference that batching may make, in [0,1] units."""
CLOSE = 0.03
"""How far, relatively, finite differences may be from a gradient that is declared exact."""


def check_defense(part: Part, context: api.Context) -> list[Check]:
    """The contract of a purifier on a few validation images."""
    plugin = api.find_defense(part.name)
    x = images_of(context)
    settings = dict(plugin.resolve(part, context.dataset).settings)
    checks = [run("settings", lambda: settings_typed(plugin))]
    try:
        purifier = build.purifier(part, context)
    except Exception as error:
        return [*checks, Check("builds", False, one_line(error))]
    for name, action in {
        "images": lambda: _like(_purify(purifier, x), x),
        "leaves": lambda: leaves(purifier, x),
        "seed": lambda: same_seed(torch.no_grad()(lambda: purifier(x))),
        "behaves": lambda: _behaves(purifier, x),
        "random": lambda: _random(purifier, x),
        "batch": lambda: _batch(part, context, x),
        "gradient": lambda: _gradient(purifier, x),
        "direction": lambda: _optional(purifier, "direction", x),
        "surrogate": lambda: _optional(purifier, "surrogate", x),
        "one step": lambda: _optional(purifier, "one_step", x),
        "networks": lambda: _networks(purifier),
        "calls": lambda: _calls(purifier, plugin, settings, x),
    }.items():
        checks.append(run(name, action))
    return checks


def _like(out: Tensor, x: Tensor) -> str:
    require(out.shape == x.shape, f"shape {tuple(out.shape)}, not {tuple(x.shape)}")
    require(out.dtype == x.dtype, f"dtype {out.dtype}, not {x.dtype}")
    require(bool(out.isfinite().all()), "NaN or infinite values")
    require(bool(((out >= 0) & (out <= 1)).all()), "values outside of [0,1]")
    return f"{tuple(out.shape)} {str(out.dtype).removeprefix('torch.')} in [0,1]"


def _behaves(purifier: Purifier, x: Tensor) -> str:
    """What `bench run` asks before it measures."""
    probe.of_purifier(purifier, x, "it")
    return "alone, together and again"


def _random(purifier: Purifier, x: Tensor) -> str:
    with seeds(0):
        one = purifier(x)
    with seeds(1):
        two = purifier(x)
    differ, declared = not torch.equal(one, two), purifier.traits.random
    require(differ == declared, f"declared random={declared}, two draws differ: {differ}")
    return "two draws differ" if differ else "two draws are equal"


def _batch(part: Part, context: api.Context, x: Tensor) -> str:
    """With other batch mates under the same draws; alone and in a batch where nothing is drawn."""
    purifier = build.purifier(part, context)
    others = torch.cat([x[:1], 1 - x[1:].flip(0)])
    one, two = _purify(purifier, x), _purify(purifier, others)
    told = close(one[:1], two[:1], "among other images", ROUNDING)
    quiet = _deterministic(part, context)
    if quiet is None:
        return told
    purifier = build.purifier(quiet, context)
    alone = close(purifier(x[:1]), purifier(x)[:1], f"alone and in a batch ({quiet})", ROUNDING)
    return f"{told}; {alone}"


def _deterministic(part: Part, context: api.Context) -> Part | None:
    """`part` itself, or with one setting at 0, such that two draws are equal."""
    plugin = api.find_defense(part.name)
    typed = dict(part.settings)
    tries = [part, *(Part(part.name, tuple({**typed, k: 0}.items())) for k in plugin.defaults)]
    for candidate in tries:
        try:
            if not build.traits(candidate, context).random:
                return candidate
        except BenchError:
            continue
    return None


def _gradient(purifier: Purifier, x: Tensor) -> str:
    """Central difference along the gradient, detached quantities held (docs/semantics.md)."""
    if not purifier.traits.exact:
        return "not exact: attacks pass the gradient on unchanged"
    # Off the borders and off ties, where clipping and medians have no derivative.
    with seeds(2):
        x = 0.1 + 0.8 * x + 0.1 * (torch.rand_like(x) - 0.5)
        v = torch.randn_like(x)

    def value(point: Tensor) -> Tensor:
        with seeds(3):
            total: Tensor = (purifier(point).double() * v).sum()
            return total

    hold: Callable[[], Any] = getattr(purifier, "hold", nullcontext)
    point = x.clone().requires_grad_()
    with hold():
        with torch.enable_grad():
            out = value(point)
            require(out.requires_grad, "declared exact, yet no gradient reaches the images")
            (g,) = torch.autograd.grad(out, point)
        slope = g.double().norm().item()
        require(0 < slope < float("inf"), f"declared exact, yet the gradient has norm {slope}")
        measured, step = 0.0, 2e-4 * x.numel() ** 0.5
        # Shorter steps where the purifier bends a lot: an optimiser's gradient is exact but stiff.
        for shorter in (1, 4, 16, 64):
            along = step / shorter * g / g.norm()
            with torch.no_grad():
                rise = value(x + along) - value(x - along)
            measured = (rise * shorter / (2 * step)).item()
            if abs(measured - slope) <= CLOSE * slope:
                break
    require(
        abs(measured - slope) <= CLOSE * slope,
        f"declared exact, yet autograd says {slope:.4g}, finite differences {measured:.4g}",
    )
    return f"autograd {slope:.4g}, finite differences {measured:.4g}"


def _optional(purifier: Purifier, name: str, x: Tensor) -> str:
    declared = bool(getattr(purifier.traits, name))
    overridden = getattr(type(purifier), name) is not getattr(Purifier, name)
    require(declared == overridden, f"declared {declared}, method defined: {overridden}")
    if not declared:
        return "none"
    with torch.no_grad(), seeds(0):
        out = getattr(purifier, name)(x.clone())
    require(out.shape == x.shape, f"shape {tuple(out.shape)}, not {tuple(x.shape)}")
    require(bool(out.isfinite().all()), "NaN or infinite values")
    return "like the images"


def _networks(purifier: Purifier) -> str:
    networks = [m for m in purifier.modules() if isinstance(m, Network)]
    inside = {id(p) for network in networks for p in network.parameters()}
    outside = [name for name, p in purifier.named_parameters() if id(p) not in inside]
    require(not outside, f"parameters outside of context.network(...): {', '.join(outside[:3])}")
    return ", ".join(sorted(network.name for network in networks)) or "none"


def _calls(
    purifier: Purifier, plugin: api.DefensePlugin, settings: dict[str, Any], x: Tensor
) -> str:
    """A run, its exact gradient, a direction and a surrogate call networks as declared, at most."""
    calls = api.both_ways(plugin.calls(settings))
    _spends("a run", purifier, x, lambda: _purify(purifier, x), calls)
    if purifier.traits.exact:
        whole = _sum(calls, plugin.gradient(settings))
        _spends("an exact gradient", purifier, x, lambda: _differentiate(purifier, x), whole)
    if purifier.traits.direction:
        toward = api.both_ways(plugin.direction_calls(settings))
        _spends("a direction", purifier, x, lambda: purifier.direction(x.clone()), toward)
    if purifier.traits.surrogate:
        stand_in = api.both_ways(plugin.surrogate_calls(settings))
        _spends("a surrogate", purifier, x, lambda: _differentiate(purifier.surrogate, x), stand_in)
    if purifier.traits.one_step:
        first = {**settings, "steps": 1}
        step = _sum(api.both_ways(plugin.calls(first)), plugin.gradient(first))
        _spends("one step", purifier, x, lambda: _differentiate(purifier.one_step, x), step)
    told = [f"{n} of '{name}'{f' and {b} backward' if b else ''}" for name, (n, b) in calls.items()]
    return ", ".join(told) or "none"


def _sum(
    run: Mapping[str, tuple[int, int]], gradient: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Calls of a run and of the gradient on top of it."""
    none = (0, 0)
    return {
        name: (run.get(name, none)[0] + again, run.get(name, none)[1] + back)
        for name, (again, back) in gradient.items()
    }


def _spends(
    what: str,
    purifier: Purifier,
    x: Tensor,
    action: Callable[[], Any],
    declared: Mapping[str, tuple[int, int]],
) -> None:
    networks = {m.name: m for m in purifier.modules() if isinstance(m, Network)}
    before = {name: (net.forwards, net.backwards) for name, net in networks.items()}
    action()
    for name, net in networks.items():
        allowed = declared.get(name, (0, 0))
        for way, now, start, most in zip(
            ("calls", "backward calls"),
            (net.forwards, net.backwards),
            before[name],
            allowed,
            strict=True,
        ):
            seen = (now - start) / len(x)
            require(seen <= most, f"{what}: {seen:g} {way} of '{name}' per image, declared {most}")


def _differentiate(purifier: Callable[[Tensor], Tensor], x: Tensor) -> None:
    point = x.clone().requires_grad_()
    with torch.enable_grad(), seeds(0):
        out = purifier(point.clone())
    if out.requires_grad:
        torch.autograd.grad(out.sum(), point, allow_unused=True)


@torch.no_grad()
def _purify(purifier: Purifier, x: Tensor) -> Tensor:
    with seeds(0):
        out: Tensor = purifier(x)
    return out
