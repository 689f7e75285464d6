"""What a plan costs in network calls, known before any weight is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from bench import registry
from bench.defense import Traits
from bench.registry import DefensePlugin
from bench.spec import Part


@dataclass(frozen=True)
class Cost:
    """Images through networks, per attacked image: forward and backward, attack and judge."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """A backward pass counts like a forward pass."""
        return self.forward + self.backward


def merge(traits: list[Traits]) -> Traits:
    """The traits of a stack: random if any part is, exact if all are, S the largest."""
    return Traits(
        random=any(t.random for t in traits),
        exact=all(t.exact for t in traits),
        direction=any(t.direction for t in traits),
        surrogate=any(t.surrogate for t in traits),
        runs=max(t.runs for t in traits),
        identity=all(t.identity for t in traits),
    )


def estimate(parts: list[Part], traits: Traits, attack: Part, draws: int) -> Cost:
    """Calls per image of one cell: the attack's declared runs plus the judge's predictions."""
    plugin = registry.find_attack(attack.name)
    plain, graded = plugin.cost(dict(attack.settings), traits)
    judged = draws * traits.runs * max(1, plugin.variants(dict(attack.settings)))
    per_run = 1 + sum(sum(_plugin(p).calls(dict(p.settings)).values()) for p in parts)
    return Cost(forward=(plain + graded + judged) * per_run, backward=graded * per_run)


def _plugin(part: Part) -> DefensePlugin:
    return registry.find_defense(part.name)
