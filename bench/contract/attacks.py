"""The contract of attacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bench import api
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import CLASSIFIER, Defense, Purifier, Traits
from bench.compute.rng import work
from bench.contract.asked import Check
from bench.contract.common import (
    images_of,
    one_line,
    require,
    run,
    same_seed,
    seeds,
    settings_typed,
)
from bench.facts import Facts
from bench.measure import build
from bench.measure.judge import under_attack
from bench.spec import Part
from bench.threat import NORMS


def check_attack(part: Part, context: api.Context) -> list[Check]:
    """The contract of an attack, on a toy defense so that few attacks need weights.

    Raises:
        BenchError: an unknown setting.
    """
    plugin = api.find_attack(part.name)
    settings = dict(plugin.resolve(part, context.dataset, "quick").settings)
    checks = [
        run("settings", lambda: settings_typed(plugin)),
        run("knows", lambda: _said(plugin.facts(settings))),
    ]
    try:
        attack = build.attack(part, context, "quick")
    except Exception as error:
        return [*checks, Check("builds", False, one_line(error))]
    checks.append(run("frozen", lambda: _frozen(attack)))
    x = images_of(context)
    balls = [f"{norm}:0.05" for norm in NORMS if norm in plugin.norms] or [f"{NORMS[0]}:0.05"]
    for within in dict.fromkeys(plugin.within(settings, ball) for ball in balls):
        threat = ThreatModel.parse(within)
        points = partial(_points, attack, _toy(context), x, threat)
        checks.append(run(f"inside {threat}", partial(_inside, points, x, threat)))
        checks.append(run(f"seed {threat}", partial(same_seed, points)))
    return checks


def _said(facts: Facts) -> str:
    """What boards will take it for."""
    if not facts.knows:
        return "it does not say (knows=): boards take it for one that knows little"
    return facts.knows + (f", follows {facts.follows}" if facts.follows else "")


def _frozen(attack: Attack) -> str:
    settings = getattr(type(attack), "__dataclass_params__", None)
    require(bool(settings and settings.frozen), f"{type(attack).__name__} is not frozen")
    return "a frozen dataclass"


def _points(attack: Attack, defense: Defense, x: Tensor, threat: ThreatModel) -> Tensor:
    """The attacked images; labels are the toy's own predictions."""
    with seeds(0):
        y = defense.predict(x)
    with work("contract"):
        attacked = under_attack(defense, attack, x, y, threat)
    points = attacked.x_adv.detach()
    return points if attacked.variants else points[None]


def _inside(points: Callable[[], Tensor], x: Tensor, threat: ThreatModel) -> str:
    with seeds(0):
        variants = points()
    for variant in variants:
        require(variant.shape == x.shape, f"shape {tuple(variant.shape)}, not {tuple(x.shape)}")
        require(variant.dtype == x.dtype, f"dtype {variant.dtype}, not {x.dtype}")
        require(bool(threat.contains(variant, x).all()), f"left {threat} or [0,1]")
    return f"{len(variants)} x {len(x)} images"


class _Blur(Purifier):
    """A random toy purifier with every ability."""

    traits = Traits(random=True, exact=True, direction=True, surrogate=True, runs=2)

    def forward(self, x: Tensor) -> Tensor:
        return (0.9 * x + 0.05 + 0.02 * torch.randn_like(x)).clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        return 0.9 * x + 0.05

    def direction(self, x: Tensor) -> Tensor:
        return 0.5 - x


def _toy(context: api.Context) -> Defense:
    """A small fixed classifier behind `_Blur`; training modes would change what it says."""
    with seeds(4):
        norm = nn.BatchNorm2d(context.shape[0])
        network = nn.Sequential(
            norm, nn.Flatten(), nn.Linear(int(np.prod(context.shape)), 16), nn.Tanh(),
            nn.Dropout(0.5), nn.Linear(16, context.classes),
        )  # fmt: skip
        for values, fill in ((norm.running_mean, 0.4), (norm.running_var, 2.0)):
            assert values is not None
            values.fill_(fill)
    return Defense(context.network(network, CLASSIFIER), [_Blur()])
