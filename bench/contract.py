"""The contract that every plug-in must meet; `bench check NAME` runs it, and so do the tests.

A check is a function that returns what it found or raises `_BrokenError`; anything else that it raises
is a failure of the plug-in, too.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import build, registry
from bench.attack import Attacked
from bench.defense import Defense, Network, Purifier, Traits
from bench.errors import BenchError, unknown
from bench.rng import seeded, work
from bench.spec import Part, coerce, parse_part
from bench.threat import MARKERS, ThreatModel

IMAGES = 6
ROUNDING = 1e-4
"""Largest difference that batching may make, in [0,1] units."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the contract: what was checked, whether it holds, what was seen."""

    name: str
    ok: bool
    detail: str


class _BrokenError(Exception):
    """The plug-in breaks the contract."""


def check(name: str, dataset: str = "digits") -> list[Check]:
    """Run the contract on a defense, an attack or a classifier, such as `adp:sigma=0`.

    Raises:
        BenchError: no plug-in has that name, or a setting is unknown.
    """
    part, context = parse_part(name), build.context(dataset)
    kinds: dict[str, Callable[[Part, registry.Context], list[Check]]] = {
        "defense": check_defense,
        "attack": check_attack,
        "classifier": check_classifier,
    }
    found = [kind for kind in kinds if part.name in registry.names(kind)]
    if not found:
        everything = [known for kind in kinds for known in registry.names(kind)]
        raise unknown("defense, attack or classifier", part.name, everything)
    return [result for kind in found for result in kinds[kind](part, context)]


def check_defense(part: Part, context: registry.Context) -> list[Check]:
    """The contract of a purifier on a few validation images."""
    plugin = registry.find_defense(part.name)
    x = _images(context)
    checks = [_run("settings", lambda: _settings(plugin)), _run("builds", lambda: _built(part))]
    try:
        purifier = build.purifier(part, context)
    except Exception as error:
        return [*checks[:1], Check("builds", False, _one_line(error))]
    settings = dict(plugin.resolve(part, context.dataset).settings)
    for name, action in {
        "images": lambda: _like(_purify(purifier, x), x),
        "input": lambda: _unchanged(purifier, x),
        "seed": lambda: _seed(lambda: _purify(purifier, x)),
        "random": lambda: _random(purifier, x),
        "batch": lambda: _batch(part, context, x),
        "gradient": lambda: _gradient(purifier, x),
        "direction": lambda: _optional(purifier, "direction", x),
        "surrogate": lambda: _optional(purifier, "surrogate", x),
        "networks": lambda: _networks(purifier),
        "calls": lambda: _calls(purifier, plugin.calls(settings), x),
    }.items():
        checks.append(_run(name, action))
    return checks


def check_classifier(part: Part, context: registry.Context) -> list[Check]:
    """The contract of a classifier: logits [B,K], the same alone and in a batch, a gradient."""
    plugin = registry.find_classifier(part.name)
    x = _images(context)
    checks = [_run("settings", lambda: _settings(plugin))]
    try:
        network = context.network(build.classifier(part, context), build.CLASSIFIER)
    except Exception as error:
        return [*checks, Check("builds", False, _one_line(error))]

    def logits() -> str:
        shape = (len(x), context.classes)
        _require(network(x).shape == shape, f"logits are {tuple(network(x).shape)}, not {shape}")
        return f"logits {shape}"

    def alone() -> str:
        return _close(network(x[:1]), network(x)[:1], "alone and in a batch", 1e-3)

    def gradient() -> str:
        point = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(network(point).logsumexp(1).sum(), point)
        _require(bool(g.isfinite().all() and g.any()), "the gradient at the images is zero or NaN")
        return "finite and not zero"

    checks += [
        _run("logits", logits),
        _run("batch", alone),
        _run("gradient", gradient),
        _run("input", lambda: _unchanged(network, x)),
    ]
    return checks


def check_attack(part: Part, context: registry.Context) -> list[Check]:
    """The contract of an attack, on a toy defense so that no weights are needed."""
    plugin = registry.find_attack(part.name)
    checks = [_run("settings", lambda: _settings(plugin))]
    try:
        attack = build.attack(part, context, "quick")
    except Exception as error:
        return [*checks, Check("builds", False, _one_line(error))]
    defense, x = _toy(context), _images(context)
    y = defense.predict(x)

    def frozen() -> str:
        settings = getattr(type(attack), "__dataclass_params__", None)
        _require(bool(settings and settings.frozen), f"{type(attack).__name__} is not frozen")
        return "a frozen dataclass"

    checks.append(_run("frozen", frozen))
    for norm in plugin.norms:
        threat = ThreatModel(norm, 0.0) if norm in MARKERS else ThreatModel(norm, 0.05)

        def points(threat: ThreatModel = threat) -> Tensor:
            before = x.clone(), y.clone()
            with work("contract"):
                attacked = attack(defense, x, y, threat)
            _require(isinstance(attacked, Attacked), f"gave {type(attacked).__name__}")
            _require(torch.equal(x, before[0]) and torch.equal(y, before[1]), "changed its input")
            return attacked.x_adv.detach()

        def inside(threat: ThreatModel = threat, points: Callable[[], Tensor] = points) -> str:
            with _seeds(0):
                x_adv = points()
            variants = x_adv if x_adv.dim() == x.dim() + 1 else x_adv[None]
            for variant in variants:
                _require(variant.shape == x.shape, f"shape {tuple(variant.shape)}")
                _require(variant.dtype == x.dtype, f"dtype {variant.dtype}")
                _require(bool(threat.contains(variant, x).all()), f"left {threat} or [0,1]")
            return f"{len(variants)} x {len(x)} images within {threat}"

        checks.append(_run(f"inside {threat}", inside))
        checks.append(_run(f"seed {threat}", partial(_seed, points)))
    return checks


# --- single checks ---------------------------------------------------------------------------


def _settings(plugin: registry.Plugin) -> str:
    _require(bool(plugin.summary), "the factory has no docstring")
    for key, default in plugin.defaults.items():
        _require(
            coerce(plugin.name, key, default, plugin.hints[key]) == default,
            f"default {key}={default} is not of its declared type",
        )
    return f"{len(plugin.defaults)} settings of declared types"


def _built(part: Part) -> str:
    return str(part)


def _like(out: Tensor, x: Tensor) -> str:
    _require(out.shape == x.shape, f"shape {tuple(out.shape)}, not {tuple(x.shape)}")
    _require(out.dtype == x.dtype, f"dtype {out.dtype}, not {x.dtype}")
    _require(bool(out.isfinite().all()), "NaN or infinite values")
    _require(bool(((out >= 0) & (out <= 1)).all()), "values outside of [0,1]")
    return f"{tuple(out.shape)} {str(out.dtype).removeprefix('torch.')} in [0,1]"


def _unchanged(function: Callable[[Tensor], Any], x: Tensor) -> str:
    before = x.clone()
    with torch.no_grad():
        function(x)
    _require(torch.equal(x, before), "writes into its input")
    return "left as it was"


def _seed(function: Callable[[], Tensor]) -> str:
    with _seeds(0):
        one = function()
    with _seeds(0, others=1):
        two = function()
    _require(torch.equal(one, two), "the same torch seed gives another result (other randomness?)")
    return "the same torch seed, the same result"


def _random(purifier: Purifier, x: Tensor) -> str:
    with _seeds(0):
        one = purifier(x)
    with _seeds(1):
        two = purifier(x)
    differ, declared = not torch.equal(one, two), purifier.traits.random
    _require(differ == declared, f"declared random={declared}, two draws differ: {differ}")
    return "two draws differ" if differ else "two draws are equal"


def _batch(part: Part, context: registry.Context, x: Tensor) -> str:
    quiet = _deterministic(part, context)
    if quiet is None:
        return "not checked: random at every setting"
    purifier = build.purifier(quiet, context)
    return _close(purifier(x[:1]), purifier(x)[:1], f"alone and in a batch ({quiet})", ROUNDING)


def _deterministic(part: Part, context: registry.Context) -> Part | None:
    """`part` itself, or with one setting at 0, such that two draws are equal."""
    plugin = registry.find_defense(part.name)
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
    with _seeds(2):
        x = 0.1 + 0.8 * x + 0.1 * (torch.rand_like(x) - 0.5)
        v = torch.randn_like(x)

    def value(point: Tensor) -> Tensor:
        with _seeds(3):
            total: Tensor = (purifier(point).double() * v).sum()
            return total

    hold: Callable[[], Any] = getattr(purifier, "hold", nullcontext)
    point = x.clone().requires_grad_()
    with hold():
        with torch.enable_grad():
            out = value(point)
            _require(out.requires_grad, "declared exact, yet no gradient reaches the images")
            (g,) = torch.autograd.grad(out, point)
        slope = g.double().norm().item()
        _require(0 < slope < float("inf"), f"declared exact, yet the gradient has norm {slope}")
        step = 2e-4 * x.numel() ** 0.5
        along = step * g / g.norm()
        with torch.no_grad():
            measured = ((value(x + along) - value(x - along)) / (2 * step)).item()
    _require(
        abs(measured - slope) <= 0.03 * slope,
        f"declared exact, yet autograd says {slope:.4g}, finite differences {measured:.4g}",
    )
    return f"autograd {slope:.4g}, finite differences {measured:.4g}"


def _optional(purifier: Purifier, name: str, x: Tensor) -> str:
    declared = bool(getattr(purifier.traits, name))
    overridden = getattr(type(purifier), name) is not getattr(Purifier, name)
    _require(declared == overridden, f"declared {declared}, method defined: {overridden}")
    if not declared:
        return "none"
    with torch.no_grad(), _seeds(0):
        out = getattr(purifier, name)(x)
    _require(out.shape == x.shape, f"shape {tuple(out.shape)}, not {tuple(x.shape)}")
    _require(bool(out.isfinite().all()), "NaN or infinite values")
    return "like the images"


def _networks(purifier: Purifier) -> str:
    networks = [m for m in purifier.modules() if isinstance(m, Network)]
    inside = {id(p) for network in networks for p in network.parameters()}
    outside = [name for name, p in purifier.named_parameters() if id(p) not in inside]
    _require(not outside, f"parameters outside of context.network(...): {', '.join(outside[:3])}")
    return ", ".join(sorted(network.name for network in networks)) or "none"


def _calls(purifier: Purifier, declared: Any, x: Tensor) -> str:
    networks = {m.name: m for m in purifier.modules() if isinstance(m, Network)}
    before = {name: network.forwards for name, network in networks.items()}
    _purify(purifier, x)
    for name, network in networks.items():
        seen = (network.forwards - before[name]) / len(x)
        _require(
            seen <= declared.get(name, 0),
            f"{seen:g} calls of '{name}' per image, declared {declared.get(name, 0)}",
        )
    return ", ".join(f"{count} of '{name}'" for name, count in declared.items()) or "none"


# --- helpers ---------------------------------------------------------------------------------


def _run(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action())
    except Exception as error:
        text = str(error) if isinstance(error, _BrokenError | BenchError) else _one_line(error)
        return Check(name, False, text)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _BrokenError(otherwise)


def _close(a: Tensor, b: Tensor, what: str, tolerance: float) -> str:
    gap = (a - b).abs().max().item()
    _require(gap <= tolerance, f"{what} differ by {gap:.3g}")
    return f"{what}: within {gap:.1e}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def _seeds(torch_seed: int, others: int = 0) -> Iterator[None]:
    """Torch's generator at one seed, NumPy's and Python's at another; all restored afterwards."""
    with seeded("contract", torch_seed):
        np.random.seed(others)
        random.seed(others)
        yield


@torch.no_grad()
def _purify(purifier: Purifier, x: Tensor) -> Tensor:
    with _seeds(0):
        out: Tensor = purifier(x)
    return out


def _images(context: registry.Context) -> Tensor:
    images: Tensor = build.dataset(context.dataset).images("validation").x[:IMAGES]
    return images.clone().to(context.device)


class _Blur(Purifier):
    """A random toy purifier with every ability."""

    traits = Traits(random=True, exact=True, direction=True, surrogate=True, runs=2)

    def forward(self, x: Tensor) -> Tensor:
        return (0.9 * x + 0.05 + 0.02 * torch.randn_like(x)).clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        return 0.9 * x + 0.05

    def direction(self, x: Tensor) -> Tensor:
        return 0.5 - x


def _toy(context: registry.Context) -> Defense:
    """A small fixed classifier behind `_Blur`."""
    with _seeds(4):
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(int(np.prod(context.shape)), 16), nn.Tanh(),
            nn.Linear(16, context.classes),
        )  # fmt: skip
    return Defense(context.network(network, build.CLASSIFIER), [_Blur()])
