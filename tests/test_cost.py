"""What is planned in network calls is what is counted, or at least that much where it says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attacks.catalog import ALL, CERTIFIED, EXTENDED, PROTOCOL
from bench import cost, registry
from bench.attack import Attack
from bench.defense import Defense, Purifier, Traits
from bench.evaluate import evaluate
from bench.registry import Context, Plugin
from bench.spec import Part, parse_defense, parse_part
from bench.threat import MARKERS, ThreatModel
from tests.tiny import images, labels, smooth

SHAPE = (1, 8, 8)
CLASSES = 10
DRAWS = 2
# Every run takes all of its steps, so that counts are exact.
FULL = "sigma={sigma},steps=2,runs=2,rule={rule},stop=none"
NOISY = f"adp:{FULL.format(sigma=0.1, rule='adaptive')}"
QUIET = f"adp:{FULL.format(sigma=0, rule='fixed')}"
EARLY = "adp:sigma=0.1,steps=3,runs=1,tau=0.02,detect=0.5"
# They end early on images that fall; against luck they ask again.
AT_MOST = ("square", "autoattack", "bpda-eot:protocol=hill", "pgd-surrogate:protocol=hill")
SETTINGS = (
    *("bpda:keep=best,steps=3", "bpda-eot:restarts=2,steps=2,eot=3", "classifier-pgd:restarts=2"),
    *("joint-score:at=x,steps=3", "joint-score:restarts=2,steps=3,eot=2"),
    *("joint-full:at=x,steps=3,eot=2", "pgd-exact:keep=best,steps=2,eot=2"),
    *("spsa:runs=0,steps=2", "square:runs=0,queries=20", "corruption:kinds=fog,severities=1+2"),
    *("autoattack:attacks=standard,steps=3", "autoattack:attacks=apgd-dlr,gradient=exact,steps=3"),
    *("apgd:steps=3,eot=2,restarts=2,gradient=exact", "apgd:loss=dlr-t,steps=2,keep=best"),
    *("mim:gradient=blind,steps=3", "mim:gradient=exact,steps=2,eot=2", "certify:rule=predict"),
)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A score network of one convolution, and a source of transfer."""

    def score(weights: Any, *what: Any) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Conv2d(1, 1, 3, padding=1)

    def source(context: Context) -> nn.Module:
        return smooth(CLASSES, SHAPE, seed=9).module

    monkeypatch.setattr("defenses.adp.rebuild_as", score)
    monkeypatch.setattr(
        "attacks.transfer.find_classifier", lambda name: Plugin("classifier", name, source)
    )


def context() -> Context:
    def nothing(name: str = "") -> Any:
        return None

    return Context("digits", SHAPE, CLASSES, torch.device("cpu"), nothing, nothing)


def purifiers(text: str) -> tuple[list[Part], list[Purifier]]:
    """The resolved parts of a defense, and what they build."""
    parts, made = [], []
    for part in parse_defense(text).parts:
        plugin = registry.find_defense(part.name)
        settings: dict[str, Any] = dict(plugin.resolve(part, "digits").settings)
        purifier: Purifier = plugin.factory(context(), **settings)
        purifier.traits = plugin.traits(settings)
        parts.append(Part(part.name, tuple(settings.items())))
        made.append(purifier)
    return parts, made


def planned_and_counted(defended: str, attacked: str) -> tuple[cost.Cost, tuple[float, float]]:
    parts, made = purifiers(defended)
    traits = Traits.merge(purifier.traits for purifier in made)
    plugin = registry.find_attack(parse_part(attacked).name)
    part = plugin.resolve(parse_part(attacked), "digits", "quick")
    settings: dict[str, Any] = dict(part.settings)
    attack: Attack = plugin.factory(*[context()] * plugin.uses_dataset, **settings)
    marker = next((m for m in MARKERS if m in plugin.norms), None)
    threat = ThreatModel.parse(marker) if marker else ThreatModel("linf", 0.02)
    x = images(4, SHAPE)
    # Labels are the classifier's own, so that most images stand for long.
    y = labels(Defense(smooth(CLASSES, SHAPE)), x)
    defense = Defense(smooth(CLASSES, SHAPE), made)
    evaluate(defense, attack, x, y, threat, draws=DRAWS, key="cost")
    forwards, backwards = (sum(way) / len(x) for way in zip(*defense.calls().values(), strict=True))
    return cost.estimate(parts, traits, part, DRAWS), (forwards, backwards)


def sensible(defended: str, attacked: str) -> bool:
    parts = [parse_part(text) for text in defended.split("+")]
    found = [(registry.find_defense(p.name), p) for p in parts]
    traits = Traits.merge(f.traits(dict(f.resolve(p, "digits").settings)) for f, p in found)
    plugin = registry.find_attack(parse_part(attacked).name)
    settings = dict(plugin.resolve(parse_part(attacked), "digits", "quick").settings)
    return not plugin.skip(settings, traits)


PAIRS = [
    (defended, attacked)
    for defended in (QUIET, NOISY, "none")
    for attacked in (*ALL, *EXTENDED, *PROTOCOL, *CERTIFIED, *SETTINGS)
    if sensible(defended, attacked)
]


@pytest.mark.parametrize(("defended", "attacked"), PAIRS)
def test_planned_calls_are_the_counted_ones(defended: str, attacked: str) -> None:
    planned, counted = planned_and_counted(defended, attacked)
    if parse_part(attacked).name in AT_MOST:
        assert counted[0] <= planned.forward + planned.luck
        assert counted[1] <= planned.backward
    else:
        assert counted == (planned.forward, planned.backward)
        assert planned.luck == 0


@pytest.mark.parametrize("attacked", [*ALL, *PROTOCOL[:-1]])
def test_a_purifier_that_may_stop_early_asks_at_most_what_is_planned(attacked: str) -> None:
    planned, counted = planned_and_counted(EARLY, attacked)
    assert counted[0] <= planned.forward + planned.luck
    assert counted[1] <= planned.backward


@pytest.mark.parametrize("stack", [f"jpeg+{NOISY}", f"{NOISY}+jpeg", f"{QUIET}+{NOISY}"])
@pytest.mark.parametrize("attacked", ["bpda-eot", "pgd-exact:keep=best,steps=3", "joint-score"])
def test_a_stack_costs_what_its_parts_do(stack: str, attacked: str) -> None:
    planned, counted = planned_and_counted(stack, attacked)
    assert counted == (planned.forward, planned.backward)


def test_luck_is_planned_and_orders_nothing() -> None:
    """Every query at its worst: `confirm` more of its kind, then `confirm` predictions."""
    planned, _ = planned_and_counted(NOISY, "square:queries=20,runs=1,confirm=3")
    per_run = 1 + 2 * 2
    assert planned.luck == 21 * (3 * 1 + 3 * 2) * per_run
    assert planned.forward == (21 + 2 * 3 * 2 + DRAWS * 2) * per_run


class Still(Purifier):
    """Random in name, with a stand-in; it and the stand-in call no network."""

    traits = Traits(random=True, exact=False, surrogate=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def surrogate(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("name", ["bpda-eot:protocol=hill", "pgd-surrogate:protocol=hill"])
def test_hills_protocol_costs_what_is_planned_where_nothing_falls(name: str) -> None:
    """Only a verification that breaks an image is left over, and what refutes luck."""
    plugin = registry.find_attack(name)
    settings: dict[str, Any] = dict(plugin.resolve(parse_part(name), "digits", "quick").settings)
    defense = Defense(smooth(CLASSES, SHAPE), [Still()])
    x = images(4, SHAPE)
    y = labels(defense, x)
    before = defense.classifier.forwards, defense.classifier.backwards
    attack: Attack = plugin.factory(**settings)
    attack(defense, x, y, ThreatModel("linf", 1e-5))
    forwards = (defense.classifier.forwards - before[0]) / len(x)
    backwards = (defense.classifier.backwards - before[1]) / len(x)
    runs = plugin.cost(settings, Still.traits)
    looked = runs.bpda + runs.surrogate
    assert forwards == runs.plain - int(settings["verify"]) + looked + runs.classified
    assert backwards == looked
