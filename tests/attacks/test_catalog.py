"""The contract of every registered attack, and what the groups and capability rules say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attacks.apgd import CROCE
from attacks.catalog import ALL, CERTIFIED, EXTENDED, GROUPS, LIBRARY, PROTOCOL, RESUBMIT, STRICT
from bench import api
from bench.api import Context, Plugin, Runs
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.compute import rng
from bench.spec import parse_part
from tests.tiny import Levels, Noise, images, labels, smooth

SHAPE = (1, 8, 8)
ADP = Traits(random=True, direction=True, runs=10)
NONE = Traits(identity=True)
MORE = (
    *("apgd:loss=dlr-t,restarts=2,steps=3", "mim:gradient=exact", "certify:rule=predict"),
    *("apgd:start=base,steps=3,gradient=exact", "pgd-exact:start=base,steps=2"),
    *("stadv:gradient=exact,steps=3", "stadv:budget=0.5,tau=0,steps=3"),
    "apgd:protocol=strict,losses=ce+dlr-t,start=base,restarts=2,steps=3",
)
SMALL = {
    "spsa": "steps=2,samples=4",
    "square": "queries=10",
    "autoattack": "steps=4,random_steps=4,eot=2,queries=10",
}


def factory(context: Context) -> nn.Module:
    """A source of transfer."""
    return smooth(5, SHAPE, seed=9).module


def build(text: str, monkeypatch: pytest.MonkeyPatch) -> Attack:
    part = parse_part(text)
    if part.name in SMALL:
        part = parse_part(f"{part.name}:{SMALL[part.name]}")
    plugin = api.find_attack(part.name)
    settings: dict[str, Any] = dict(plugin.resolve(part, "digits", "quick").settings)
    if not plugin.uses_dataset:
        made: Attack = plugin.factory(**settings)
        return made
    monkeypatch.setattr("attacks.transfer.find_classifier", lambda name: Plugin(name, factory))

    def nothing(name: str = "") -> Any:
        raise AssertionError("the toy source needs no files")

    context = Context("digits", SHAPE, 5, torch.device("cpu"), nothing, nothing)
    made = plugin.factory(context, **settings)
    return made


def resolved(text: str, preset: str = "paper") -> dict[str, Any]:
    part = parse_part(text)
    return dict(api.find_attack(part.name).resolve(part, "patches", preset).settings)


def threat_of(text: str, norm: str) -> ThreatModel | None:
    plugin = api.find_attack(parse_part(text).name)
    ball = "linf:0.05" if norm == "linf" else "l2:0.4"
    within = ThreatModel.parse(plugin.within(resolved(text, "quick"), ball))
    return None if within.norm == norm and norm not in plugin.norms else within


CASES = [
    (text, str(threat))
    for text in dict.fromkeys(
        (*ALL, *EXTENDED, *PROTOCOL, *CERTIFIED, *LIBRARY, *STRICT, *RESUBMIT, *MORE)
    )
    for threat in dict.fromkeys([threat_of(text, "linf"), threat_of(text, "l2")])
    if threat
]


@pytest.mark.parametrize(("text", "ball"), CASES)
def test_contract(text: str, ball: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, threat = build(text, monkeypatch), ThreatModel.parse(ball)
    x = images(5, SHAPE)
    purifiers: tuple[Purifier, ...] = (Noise(0.05), Levels(9))
    for purifier in purifiers:
        defense = Defense(smooth(5, SHAPE), [purifier])
        y = labels(defense, x)
        kept_x, kept_y, points = x.clone(), y.clone(), []
        for _ in range(2):
            with rng.work("cell"), rng.stream("attack"):
                attacked = attack(defense, x, y, threat)
            points.append(attacked.x_adv)
            assert torch.equal(x, kept_x)
            assert torch.equal(y, kept_y)
        assert torch.equal(points[0], points[1])
        assert not points[0].requires_grad
        assert points[0].dtype == torch.float32
        versions = points[0] if attacked.variants else points[0].unsqueeze(0)
        assert len(versions) == max(1, len(attacked.variants))
        for version in versions:
            assert version.shape == x.shape
            assert threat.contains(version, x).all()


def test_groups_name_registered_attacks_in_one_order() -> None:
    for name, members in GROUPS.items():
        if name in ("extended", "protocol", "certified", "library", "resubmit"):
            assert not set(members) & set(ALL)
            continue
        if name == "strict":
            shared = [text for text in members if text in ALL]
            assert sorted(shared, key=ALL.index) == shared
            continue
        assert set(members) <= set(ALL)
        assert sorted(members, key=ALL.index) == list(members)
    known = api.names("attack")
    every = (*ALL, *EXTENDED, *PROTOCOL, *CERTIFIED, *LIBRARY, *STRICT, *RESUBMIT)
    assert {parse_part(text).name for text in every} <= set(known)


def skip(text: str, traits: Traits) -> str | None:
    return api.find_attack(parse_part(text).name).skip(resolved(text), traits)


def test_what_makes_no_sense_is_skipped_with_its_reason() -> None:
    assert [text for text in ALL if skip(text, ADP)] == []
    skipped = [text for text in ALL if skip(text, NONE)]
    assert skipped == ["bpda", "bpda-eot", "joint-score", "joint-full", "pgd-exact"]
    assert skip("bpda", NONE) == "no purifier: duplicate of classifier-pgd"
    assert skip("bpda-eot", Traits()) == "deterministic defense: duplicate of bpda"
    assert skip("pgd-exact", Traits()) is None
    assert "bpda and square attack it" in str(skip("pgd-exact", Traits(exact=False)))
    assert "direction" in str(skip("joint-full", Traits(random=True)))
    assert "no surrogate" in str(skip("pgd-surrogate", ADP))
    assert skip("pgd-surrogate", Traits(random=True, surrogate=True)) is None
    assert skip("bpda-eot:protocol=hill", Traits()) is None
    assert skip("apgd", NONE) is None
    assert "gradient=bpda attacks it" in str(skip("apgd:gradient=exact", Traits(exact=False)))
    assert [skip(text, NONE) is None for text in PROTOCOL] == [False] * len(PROTOCOL)


@pytest.mark.parametrize("text", CROCE.values())
def test_croces_attacks_are_settings_of_ours(text: str) -> None:
    typed, found = parse_part(text), resolved(text)
    assert {key: str(found[key]) for key, _ in typed.settings} == dict(typed.settings)


@pytest.mark.parametrize("preset", ["quick", "standard", "paper"])
def test_declared_cost_of_gradient_attacks_is_what_they_ask(preset: str) -> None:
    expected = {"quick": (10, 5, 5), "standard": (40, 15, 10), "paper": (40, 15, 20)}
    steps, eot, exact = expected[preset]
    exact_steps = 200 if preset == "paper" else steps
    costs = {t: api.find_attack(t).cost(resolved(t, preset), ADP) for t in GROUPS["adaptive"]}
    assert costs == {
        "bpda": Runs(bpda=steps),
        "bpda-eot": Runs(bpda=steps * eot),
        "joint-score": Runs(bpda=steps * eot, direction=steps),
        "joint-full": Runs(bpda=steps * eot),
        "pgd-exact": Runs(exact=exact_steps * exact),
    }
