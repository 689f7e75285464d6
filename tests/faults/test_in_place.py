"""Whoever writes into its arguments gets the numbers of whoever does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.auxiliary import Joint
from attacks.family import Clean
from attacks.gradients import Blind, Bpda, BpdaSurrogate, Eot, Exact
from attacks.losses import LOSSES, margin
from attacks.pgd import PGD
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.measure.judge import evaluate
from tests.tiny import Linear, images, labels

THREAT = ThreatModel.parse("linf:0.1")
ATTACKS: dict[str, Attack] = {
    "clean": Clean(),
    "blind": PGD(Blind("margin"), 3),
    "bpda": PGD(Eot(Bpda("margin"), 2), 3),
    "exact": PGD(Eot(Exact("margin"), 2), 3),
    "surrogate": PGD(Exact("margin", "surrogate"), 3),
    "one step": PGD(Exact("margin", "one_step"), 3),
    "stand-in": PGD(BpdaSurrogate("margin"), 3),
    "direction": PGD(Joint(Bpda("margin"), 0.5), 3),
}


class Noisy(Purifier):
    """Everything that a purifier may have, in place or not."""

    traits = Traits(random=True, direction=True, surrogate=True, one_step=True)

    def __init__(self, writes: bool) -> None:
        super().__init__()
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        noise = 0.1 * torch.randn_like(x)
        return x.add_(noise).clamp_(0, 1) if self.writes else (x + noise).clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        return x.mul_(0.9) if self.writes else x * 0.9

    def one_step(self, x: Tensor) -> Tensor:
        return x.mul_(0.8) if self.writes else x * 0.8

    def direction(self, x: Tensor) -> Tensor:
        return x.neg_().add_(0.5) if self.writes else 0.5 - x


class Centred(nn.Module):
    """A classifier that centres images, in place or not."""

    def __init__(self, writes: bool) -> None:
        super().__init__()
        self.writes = writes
        self.last = Linear(torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.sub_(0.3).mul_(2) if self.writes else (x - 0.3) * 2
        logits: Tensor = self.last(x)
        return logits


def greedy(logits: Tensor, y: Tensor) -> Tensor:
    """The margin, after writing into both."""
    found = margin(logits.clone(), y.clone())
    with torch.no_grad():
        logits.zero_()
        y.zero_()
    return found


class Grasping:
    """An attack that spoils its arguments after it is done."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Any:
        found = self.attack(defense, x.clone(), y.clone(), threat)
        x.zero_()
        y.zero_()
        return found


def verdicts(attack: Attack, *, network: bool, purifier: bool) -> tuple[Tensor, Tensor, Any]:
    defense = Defense(Network(Centred(network), "classifier"), [Noisy(purifier)])
    x = images(32)
    found = evaluate(defense, attack, x, labels(defense, x), THREAT, draws=2, key="in place")
    return found.correct, found.attacked.x_adv, found.trace


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("who", ["purifier", "network", "loss", "attack"])
def test_writing_into_arguments_changes_nothing(
    name: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = ATTACKS[name]
    plain = verdicts(attack, network=False, purifier=False)
    if who == "loss":
        monkeypatch.setitem(LOSSES, "margin", greedy)
    found = verdicts(
        Grasping(attack) if who == "attack" else attack,
        network=who == "network",
        purifier=who == "purifier",
    )
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[1], plain[1])
    assert found[2] == plain[2]


def test_a_network_in_place_is_asked_outside_of_a_graph_too() -> None:
    network, x = Network(Centred(writes=True), "classifier"), images(4)
    before = x.clone()
    with torch.no_grad():
        network(x)
    assert torch.equal(x, before)
    assert not network.training
    assert not network.train().training
