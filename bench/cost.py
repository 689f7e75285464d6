"""What a plan costs in network calls, known before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.defense import Traits
from bench.registry import DefensePlugin
from bench.spec import Part


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
    """Network calls of one run of a stack, of one exact gradient on top, of one direction."""

    run: int
    again: int
    backward: int
    direction: int


def estimate(parts: Sequence[Part], traits: Traits, attack: Part, draws: int) -> Cost:
    """Calls per image of one cell: what the attack asks plus the judge's predictions."""
    plugin = registry.find_attack(attack.name)
    runs = plugin.cost(dict(attack.settings), traits)
    judged = draws * traits.runs * max(1, plugin.variants(dict(attack.settings)))
    unit = _unit(parts)
    luck = runs.luck * (unit.run + 1)
    forward = (
        (runs.plain + runs.bpda + runs.exact + judged) * (unit.run + 1)
        + runs.exact * unit.again
        + runs.purified * unit.run
        + runs.direction * unit.direction
        + runs.blind
    )
    backward = runs.bpda + runs.blind + runs.exact * (1 + unit.backward)
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
    directions = [p.direction_calls(s) for p, s in found if p.traits(s).direction]
    return _Unit(
        run=sum(sum(plugin.calls(settings).values()) for plugin, settings in found),
        again=sum(again for again, _ in gradients),
        backward=sum(backward for _, backward in gradients),
        direction=sum(directions[0].values()) if directions else 0,
    )
