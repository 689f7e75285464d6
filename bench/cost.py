"""What a plan costs in network calls, known before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.defense import Traits
from bench.registry import DefensePlugin, both_ways
from bench.spec import Part
from bench.threat import CERTIFIED


@dataclass(frozen=True)
class Cost:
    """Images through networks, per attacked image: forward and backward, attack and judge.

    At most, where an attack or a purifier may end early. luck: forwards on top that only refute
    lucky draws: a bound that hardly any image comes near.
    """

    forward: float
    backward: float
    luck: float = 0

    @property
    def total(self) -> float:
        """Without luck; a backward pass counts like a forward pass."""
        return self.forward + self.backward


@dataclass(frozen=True)
class _Unit:
    """Network calls of one run of a stack, of one exact gradient on top, of one direction.

    inside and turning: backward calls that a run and a direction make of their own. stand_in and
    through: forward and backward calls of one surrogate with its gradient.
    """

    run: int
    again: int
    backward: int
    direction: int
    inside: int
    turning: int
    stand_in: int
    through: int


def estimate(parts: Sequence[Part], traits: Traits, attack: Part, draws: int) -> Cost:
    """Calls per image of one cell: what the attack asks plus the judge's predictions."""
    plugin = registry.find_attack(attack.name)
    runs = plugin.cost(dict(attack.settings), traits)
    judged = draws * traits.runs * max(1, plugin.variants(dict(attack.settings)))
    if CERTIFIED in plugin.norms:
        judged = 0
    unit = _unit(parts)
    luck = runs.luck * (unit.run + 1)
    whole = runs.plain + runs.bpda + runs.exact + judged
    forward = (
        whole * (unit.run + 1)
        + runs.exact * unit.again
        + runs.purified * unit.run
        + runs.direction * unit.direction
        + runs.surrogate * (unit.stand_in + 1)
        + runs.blind
        + runs.classified
    )
    backward = (
        runs.bpda
        + runs.blind
        + runs.exact * (1 + unit.backward)
        + (whole + runs.purified) * unit.inside
        + runs.direction * unit.turning
        + runs.surrogate * (unit.through + 1)
    )
    return Cost(forward, backward, luck)


def _unit(parts: Sequence[Part]) -> _Unit:
    found: list[tuple[DefensePlugin, dict[str, Any]]] = [
        (registry.find_defense(part.name), dict(part.settings)) for part in parts
    ]
    gradients = [
        calls
        for plugin, settings in found
        if plugin.traits(settings).exact
        for calls in plugin.gradient(settings).values()
    ]
    calls = [n for plugin, s in found for n in both_ways(plugin.calls(s)).values()]
    directions = [both_ways(p.direction_calls(s)) for p, s in found if p.traits(s).direction]
    turns = list(directions[0].values()) if directions else []
    stand_ins = [calls for plugin, settings in found for calls in _stand_in(plugin, settings)]
    return _Unit(
        run=sum(forward for forward, _ in calls),
        again=sum(again for again, _ in gradients),
        backward=sum(backward for _, backward in gradients),
        direction=sum(forward for forward, _ in turns),
        inside=sum(backward for _, backward in calls),
        turning=sum(backward for _, backward in turns),
        stand_in=sum(forward for forward, _ in stand_ins),
        through=sum(backward for _, backward in stand_ins),
    )


def _stand_in(plugin: DefensePlugin, settings: dict[str, Any]) -> list[tuple[int, int]]:
    """Calls of a part's surrogate with its gradient; a part that has none is run itself."""
    traits = plugin.traits(settings)
    if traits.surrogate:
        return list(both_ways(plugin.surrogate_calls(settings)).values())
    gradient = plugin.gradient(settings).values() if traits.exact else []
    return [*both_ways(plugin.calls(settings)).values(), *gradient]
