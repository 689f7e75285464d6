"""Candidates tried many times: closed forms, whose draws decide, and what a twin keeps."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.apgd import apgd
from attacks.family import bpda_eot
from attacks.resubmit import FAMILY, Resubmitted, steps_of
from attacks.strict import apgd_strict
from bench import api
from bench.api.attacked import Attack, Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.compute import rng
from bench.errors import BenchError
from bench.measure.judge import Outcome, evaluate
from bench.measure.resubmit import ATTACKED
from bench.spec import parse_part, resubmitted
from bench.threat import Threat
from tests.tiny import Luck, Noise, images, labels, linear, smooth

TINY = ThreatModel.parse("resubmit:linf:0.000001")


def measured(defense: Defense, attack: Attack, x: Tensor, threat: ThreatModel = TINY) -> Outcome:
    return evaluate(defense, attack, x, labels(defense, x), threat, key="cell")


def test_who_fails_by_chance_alone_survives_as_often_as_the_power_says() -> None:
    p, tries, steps, count = 0.02, 3, 4, 4000
    defense, x = Defense(linear(), [Luck(p)]), images(count)
    found = measured(defense, Resubmitted(bpda_eot(steps=steps, eot=1), tries), x)
    assert found.tried is not None
    expected = (1 - p) ** (tries * steps)
    spread = 4 * (expected * (1 - expected) / count) ** 0.5
    clean = (found.tried.clean == tries * steps).float().mean()
    robust = found.correct.float().mean()
    assert abs(clean - expected) < spread
    assert abs(robust - expected) < spread
    assert (found.tried.robust != (found.tried.clean == tries * steps)).any()
    first = (found.tried.attacked == 0).float().mean()
    assert abs(first - p) < 4 * (p * (1 - p) / count) ** 0.5


class Weak(Purifier):
    """Loses an image that was moved by a chance of one in four, and never one that was not."""

    traits = Traits(random=True)

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, x: Tensor) -> Tensor:
        moved = ~torch.isin(x[:, 0, 0, 0], self.x[:, 0, 0, 0])
        lost = (moved & (torch.rand(len(x)) < 0.25)).view(-1, 1, 1, 1).to(x)
        return lost * (1 - x) + (1 - lost) * x


def test_a_failure_at_any_step_breaks_and_clean_images_stand_beside_it() -> None:
    x = images(2000)
    defense = Defense(linear(), [Weak(x)])
    found = measured(
        defense,
        Resubmitted(bpda_eot(steps=2, eot=1), 3),
        x,
        ThreatModel.parse("resubmit:linf:0.01"),
    )
    assert found.tried is not None
    assert bool((found.tried.clean == 6).all())
    assert abs(float(found.correct.float().mean()) - 0.75**6) < 0.04


@dataclass(frozen=True)
class Handed:
    """Hands over what it was given, after asking for a stream that is not an attacker's."""

    candidates: tuple[Tensor, ...]
    peeks: bool = False
    tries: int = 2

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        if self.peeks:
            with rng.stream(ATTACKED):
                torch.rand(1)
        given = torch.stack(self.candidates) if self.candidates else None
        return Attacked(x.clone(), candidates=given, tries=self.tries)


class Negative(Purifier):
    """Random in name: an image whose first pixel is 1 is lost."""

    traits = Traits(random=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1, :1, :1] == 1, 1 - x, x)


def test_an_early_candidate_breaks_though_the_last_does_not() -> None:
    x = images(3)
    defense = Defense(linear(), [Negative()])
    bad = x.clone()
    bad[1, 0, 0, 0] = 1
    threat = ThreatModel.parse("resubmit:linf:1")
    found = measured(defense, Handed((x, bad, x)), x, threat)
    assert found.correct.tolist() == [[[True, False, True]]]
    assert found.tried is not None
    assert found.tried.attacked.tolist() == [6, 2, 6]
    assert found.tried.clean.tolist() == [6, 6, 6]
    # Three candidates by two tries of three images, of which one is tried no more; clean: all.
    assert defense.calls()["classifier"][0] - 3 == 18 - 3 + 18


def test_candidates_are_checked_and_an_attack_without_any_is_refused() -> None:
    x, defense = images(3), Defense(linear(), [Negative()])
    with pytest.raises(BenchError, match="broke its threat model resubmit:linf"):
        measured(defense, Handed((x, x + 0.1)), x)
    with pytest.raises(BenchError, match="hand over their candidates"):
        measured(defense, Handed(()), x)
    with pytest.raises(BenchError, match="and not from 'submit'"):
        measured(defense, Handed((x,), peeks=True), x)


def test_the_verdict_draws_are_none_of_the_attacks() -> None:
    """The same candidates without the search's draws: the same tries, one by one."""
    x, defense = images(), Defense(linear(), [Luck(0.2)])
    threat = ThreatModel.parse("resubmit:linf:0.02")
    found = measured(defense, Resubmitted(bpda_eot(steps=3, eot=2), 4), x, threat)
    assert found.attacked.candidates is not None
    again = measured(defense, Handed(tuple(found.attacked.candidates), tries=4), x, threat)
    assert found.tried is not None
    assert again.tried is not None
    assert torch.equal(found.tried.attacked, again.tried.attacked)
    assert torch.equal(found.tried.clean, again.tried.clean)
    assert not torch.equal(found.tried.attacked, found.tried.clean)


def test_candidates_are_the_points_of_the_search() -> None:
    defense, x = Defense(smooth(), [Noise(0.1)]), images()
    y, threat = labels(defense, x), ThreatModel("linf", 0.05)
    for search in (bpda_eot(steps=3, eot=2), apgd_strict(steps=3, eot=2, losses="ce", start="own")):
        with rng.work("cell"), rng.stream("attack"):
            found = Resubmitted(search)(defense, x, y, threat)
        assert found.candidates is not None
        assert len(found.candidates) == (3 if search == bpda_eot(steps=3, eot=2) else 9)
        assert torch.equal(found.candidates[-1], found.x_adv)
    with rng.work("cell"), rng.stream("attack"):
        plain = bpda_eot(steps=3, eot=2)(defense, x, y, threat)
    with rng.work("cell"), rng.stream("attack"):
        tried = Resubmitted(bpda_eot(steps=3, eot=2))(defense, x, y, threat)
    assert torch.equal(plain.x_adv, tried.x_adv)


@pytest.mark.parametrize("name", FAMILY)
def test_a_twin_has_the_settings_of_its_search_and_stands_aside(name: str) -> None:
    base, twin = (api.find_attack(text) for text in (name, resubmitted(name)))
    asked = inspect.signature(FAMILY[name]).parameters
    own: dict[str, Any] = {
        k: v for k, v in base.defaults.items() if k in asked and k not in ("keep", "select")
    }
    assert own
    assert twin.defaults == {**own, "tries": 10}
    assert (twin.version, twin.software) == (base.version, base.software)
    for preset in api.PRESETS:
        found = [
            dict(p.resolve(parse_part(p.name), "digits", preset).settings) for p in (base, twin)
        ]
        assert {**found[0], "tries": 10}.items() >= found[1].items()
    within = Threat.parse(twin.within(found[1], "linf:8/255"))
    assert (str(within), within.is_ball) == ("resubmit:linf:8/255", False)
    assert twin.facts(found[1]).knows == base.facts(found[0]).knows
    assert "deterministic" in str(twin.skip(found[1], Traits()))
    assert twin.tries(found[1]) == 10 * steps_of(found[1])


def test_autoattacks_twin_tries_every_point_of_its_two_searches() -> None:
    """APGD along CE and DLR; each step of each search is a candidate, and AutoAttack's budgets."""
    defense, x = Defense(smooth(), [Noise(0.1)]), images()
    plugin = api.find_attack("autoattack:protocol=resubmit")
    part = parse_part("autoattack:protocol=resubmit,random_steps=3,eot=2")
    search = plugin.factory(**dict(plugin.resolve(part, "digits", "quick").settings))
    with rng.work("cell"), rng.stream("attack"):
        found = search(defense, x, labels(defense, x), ThreatModel("linf", 0.05))
    assert len(found.candidates) == 6
    alone = apgd(steps=3, eot=2, keep="last")
    with rng.work("cell"), rng.stream("attack"):
        first = alone(defense, x, labels(defense, x), ThreatModel("linf", 0.05))
    assert torch.equal(found.candidates[2], first.x_adv)


def test_names_of_twins() -> None:
    assert resubmitted("bpda-eot") == "bpda-eot:protocol=resubmit"
    assert resubmitted("pgd:protocol=strict") == "pgd:protocol=strict-resubmit"
