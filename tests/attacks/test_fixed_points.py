"""Attacks whose points no defense changes: transfer and corruptions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attacks.corruption import Corruption, parse_kinds, parse_severities
from attacks.gradients import Blind
from attacks.pgd import PGD
from attacks.transfer import Transfer
from bench import api
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute import rng
from bench.compute.network import computing
from bench.errors import BenchError
from bench.measure import build
from tests.tiny import Levels, Noise, images, labels, smooth

THREAT = ThreatModel("linf", 0.1)


def transfer(source: str, seed: int) -> Transfer:
    return Transfer(source, Defense(smooth(seed=seed)), PGD(Blind(), 5, random_start=True))


def test_every_defense_gets_the_same_transferred_points() -> None:
    x = images()
    y = labels(Defense(smooth()), x)
    attack = transfer("same", 1)
    points = []
    for key, defense in enumerate(
        (Defense(smooth()), Defense(smooth(), [Noise(0.3)]), Defense(smooth(), [Levels(3)]))
    ):
        with rng.work(f"cell {key}"), rng.stream("attack"):
            points.append(attack(defense, x, y, THREAT).x_adv)
        assert defense.calls() == {"classifier": (0, 0)}
    assert torch.equal(points[0], points[1])
    assert torch.equal(points[0], points[2])
    assert not torch.equal(points[0], transfer("other", 2)(defense, x, y, THREAT).x_adv)


def test_transferred_points_break_their_source() -> None:
    attack = transfer("same", 1)
    x = images(32)
    y = labels(attack.network, x)
    x_adv = attack(Defense(smooth()), x, y, ThreatModel("linf", 0.3)).x_adv
    assert (attack.network.predict(x_adv) != y).float().mean() > 0.9


@pytest.mark.parametrize("way", ["mim", "deepfool", "cw"])
def test_other_attacks_make_points_that_are_transferred(way: str) -> None:
    """On the twin, the same ones whatever stands in front; not those of PGD."""
    context = build.context("digits")
    x, y = images(8, context.shape), torch.arange(8)
    threat = ThreatModel("l2", 3.0)
    plugin = api.find_attack("transfer")
    found: list[Tensor] = []
    for settings in ({"attack": way}, {"attack": way}, {}):
        attack = plugin.factory(context, steps=10, **settings)
        with rng.work(f"cell {len(found)}"), rng.stream("attack"):
            found.append(attack(Defense(smooth(10, context.shape)), x, y, threat).x_adv)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert threat.contains(found[0], x).all()
    twin = Defense(Network(build.classifier("twin", context), "classifier"))
    right = twin.predict(x) == y
    assert (twin.predict(found[0]) == y).sum() < right.sum() or not right.any()


def test_corruptions_are_the_same_for_every_cell() -> None:
    x = images(4, (3, 16, 16))
    defense, threat = Defense(smooth()), ThreatModel.parse("corruption")
    attack = Corruption(("gaussian_noise", "fog"), (1, 5))
    y = torch.zeros(4, dtype=torch.long)
    found = []
    for key in ("one", "two"):
        with rng.work(key), rng.stream("attack"):
            found.append(attack(defense, x, y, threat))
    assert found[0].variants == ("gaussian_noise/1", "gaussian_noise/5", "fog/1", "fog/5")
    assert found[0].x_adv.shape == (4, *x.shape)
    assert torch.equal(found[0].x_adv, found[1].x_adv)
    assert threat.contains(found[0].x_adv[1], x).all()
    weak, strong = (found[0].x_adv[i] - x for i in (0, 1))
    assert weak.square().mean() < strong.square().mean()


def test_kinds_and_severities_are_checked() -> None:
    assert len(parse_kinds("all")) == 15
    assert parse_severities("3+1") == (3, 1)
    with pytest.raises(BenchError, match="did you mean 'fog'"):
        parse_kinds("fogg+snow")
    with pytest.raises(BenchError, match="unknown severity '6'"):
        parse_severities("1+6")
    with pytest.raises(BenchError, match="names one twice"):
        parse_kinds("fog+fog")


def test_transferred_points_are_made_in_float32_whatever_the_defense_computes_in() -> None:
    seen = list[str]()

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(Network.precision)
            return x.flatten(1)[:, :3]

    source = Defense(Network(Watched(), "twin"))
    attack = Transfer("same", source, PGD(Blind(), 2))
    x, y = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    with computing("bf16"):
        attack(source, x, y, ThreatModel("linf", 0.1))
        assert Network.precision == "bf16"
    assert seen == ["float32"] * 2
