"""What a plan costs in network calls, by network, known before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import api
from bench.api import DefensePlugin, both_ways
from bench.spec import Part
from bench.threat import CERTIFIED

if TYPE_CHECKING:
    from bench.api.purifier import Traits

Ways = Mapping[str, tuple[float, float]]
"""Network -> images through it, (forward, backward)."""


@dataclass(frozen=True)
class Cost:
    """Images through networks, per attacked image: what the attack asks and what the judge does.

    At most, where an attack or a purifier may end early. luck: on top, what only refutes lucky
    draws: a bound that hardly any image comes near. Networks of an attack's own (the source of
    `transfer`) are not the defense's and do not count, as in the records.
    """

    networks: Ways
    luck: Ways = field(default_factory=dict)

    @property
    def forward(self) -> float:
        """Through all networks, without luck."""
        return sum(forward for forward, _ in self.networks.values())

    @property
    def backward(self) -> float:
        """Through all networks, without luck."""
        return sum(backward for _, backward in self.networks.values())

    @property
    def unlucky(self) -> float:
        """Forwards of luck, through all networks."""
        return sum(forward for forward, _ in self.luck.values())

    @property
    def total(self) -> float:
        """Without luck; a backward pass counts like a forward pass."""
        return self.forward + self.backward


@dataclass(frozen=True)
class _Unit:
    """Network calls of a stack, without the classifier's.

    run: one run. gradient: one exact gradient on top of a run. direction: one direction.
    stand_in: one surrogate with its gradient. one_step: one first step with its gradient.
    """

    run: Ways
    gradient: Ways
    direction: Ways
    stand_in: Ways
    one_step: Ways


def estimate(parts: Sequence[Part], traits: Traits, attack: Part, draws: int) -> Cost:
    """Calls per image of one cell: what the attack asks plus the judge's predictions."""
    from bench.api.purifier import CLASSIFIER

    plugin = api.find_attack(attack.name)
    asked = plugin.cost(dict(attack.settings), traits)
    judged = draws * traits.runs * max(1, plugin.variants(dict(attack.settings)))
    if CERTIFIED in plugin.norms:
        judged = 0
    if tries := plugin.tries(dict(attack.settings)):
        judged = 2 * tries * traits.runs  # at most: candidates, and the clean image as often
    unit = _unit(parts)
    look, slope = {CLASSIFIER: (1, 0)}, {CLASSIFIER: (0, 1)}
    # Every run of a prediction or a gradient ends in a look of the classifier.
    whole = asked.plain + asked.bpda + asked.exact + judged
    networks = _sum(
        (whole + asked.classified, look),
        (whole + asked.purified + asked.pulled, unit.run),
        (asked.bpda + asked.exact, slope),
        (asked.exact + asked.pulled, unit.gradient),
        (asked.blind, look),
        (asked.blind, slope),
        (asked.direction, unit.direction),
        (asked.surrogate + asked.stand_in, unit.stand_in),
        (asked.one_step, unit.one_step),
        (asked.surrogate + asked.one_step, look),
        (asked.surrogate + asked.one_step, slope),
    )
    return Cost(networks, _sum((asked.luck, look), (asked.luck, unit.run)))


def _sum(*terms: tuple[float, Ways]) -> Ways:
    """So many times such calls, all together; networks that nobody asks are left out."""
    total: dict[str, tuple[float, float]] = {}
    for times, calls in terms:
        for name, (forward, backward) in calls.items():
            before = total.get(name, (0, 0))
            total[name] = (before[0] + times * forward, before[1] + times * backward)
    return {name: ways for name, ways in total.items() if any(ways)}


def _unit(parts: Sequence[Part]) -> _Unit:
    found: list[tuple[DefensePlugin, dict[str, Any]]] = [
        (api.find_defense(part.name), dict(part.settings)) for part in parts
    ]
    exact = [plugin.gradient(s) for plugin, s in found if plugin.traits(s).exact]
    directions = [both_ways(p.direction_calls(s)) for p, s in found if p.traits(s).direction]
    return _Unit(
        run=_once(both_ways(plugin.calls(s)) for plugin, s in found),
        gradient=_once(exact),
        direction=_once(directions[:1]),
        stand_in=_once(calls for plugin, s in found for calls in _stand_in(plugin, s)),
        one_step=_once(calls for plugin, s in found for calls in _one_step(plugin, s)),
    )


def _once(calls: Iterable[Ways]) -> Ways:
    return _sum(*((1, each) for each in calls))


def _stand_in(plugin: DefensePlugin, settings: dict[str, Any]) -> Iterator[Ways]:
    """Calls of a part's surrogate with its gradient; a part that has none is run itself."""
    traits = plugin.traits(settings)
    if traits.surrogate:
        yield both_ways(plugin.surrogate_calls(settings))
        return
    yield both_ways(plugin.calls(settings))
    if traits.exact:
        yield plugin.gradient(settings)


def _one_step(plugin: DefensePlugin, settings: dict[str, Any]) -> Iterator[Ways]:
    """Calls of a part's first step with its gradient; a part that has no steps is run itself."""
    traits = plugin.traits(settings)
    first = {**settings, "steps": 1} if traits.one_step else settings
    yield both_ways(plugin.calls(first))
    if traits.one_step or traits.exact:
        yield plugin.gradient(first)
