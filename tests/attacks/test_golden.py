"""The attacks of ADP's authors against the points that their code makes (Foolbox)."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from attacks.gradients import Blind, Bpda, Direction, Displacement, Eot, Score, Slope
from attacks.losses import cross_entropy
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.normalised import Normalised
from defenses.adp import ADP
from defenses.adp_walk import StepRule, purify
from tests.reference import Classifier, facts_of, tensors_of

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


def test_classifier_pgd_makes_the_reference_points(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tensors_of("adp_attacks")
    net = Normalised(Classifier("adp_attacks"), MEAN, STD)
    defense, threat = Defense(Network(net, "classifier")), ThreatModel("linf", 8 / 256)
    x, y, start = data["x"], data["y"], data["clf_pgd/start"]
    monkeypatch.setattr(ThreatModel, "random_start", lambda self, images: start.clone())
    found = PGD(Blind(), 40, random_start=True)(defense, x, y, threat).x_adv
    expected = data["clf_pgd/x_adv"]
    # Forty sign steps amplify rounding: the reference states 75 % of pixels and 2 % of the loss.
    assert ((found - expected).abs() < 1e-5).float().mean() > 0.75
    losses = [cross_entropy(defense.classifier(points), y) for points in (found, expected)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0)
    broken = defense.predict(found) != y
    assert torch.equal(broken, data["clf_pgd/success"])


class Replayed(Purifier):
    """ADP as the authors' code runs it: a call of its own for every draw, with the given noise.

    Stopped images drift while a batch mate goes on, so what one call holds matters.
    """

    traits = Traits(random=True, direction=True)

    def __init__(self, adp: ADP, noise: Tensor) -> None:
        super().__init__()
        self.adp, self.noise = adp, list(noise)

    def forward(self, x: Tensor) -> Tensor:
        starts = [self.adp.start(part, self.noise.pop(0)) for part in torch.split(x, 2)]
        return torch.cat([purify(self.adp.score, start, self.adp.rule) for start in starts])

    def direction(self, x: Tensor) -> Tensor:
        return self.adp.direction(x)


DIRECTIONS: dict[str, Direction | None] = {"strong": None, "score": Score(), "full": Displacement()}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_adps_attacks_make_the_reference_points(name: str) -> None:
    data = tensors_of("adp_attacks")
    score = NCSNv2(**json.loads(facts_of("ncsnv2_tiny")["config"]))
    score.load_state_dict(tensors_of("ncsnv2_tiny", "sd/"))
    rule = StepRule(negative="min", inverse_grid=True)
    net = Network(Normalised(Classifier("adp_attacks"), MEAN, STD), "classifier")
    threat, x, y = ThreatModel("linf", 8 / 255), data["x"], data["y"]
    adp, points = ADP(Network(score, "score"), rule, 0.25), []
    gradient = Eot(Bpda(), 2, "vote")

    def watched(defense: Defense, x: Tensor, y: Tensor) -> Slope:
        points.append(x)
        return gradient(defense, x, y)

    attack = PGD(watched, 3, direction=DIRECTIONS[name])
    points.append(attack(Defense(net, [Replayed(adp, data["noise"])]), x, y, threat).x_adv)
    for found, expected, share in ((points[1], "x_adv_step1", 0.98), (points[3], "x_adv", 0.93)):
        assert ((found - data[f"{name}/{expected}"]).abs() < 1e-5).float().mean() >= share
        assert threat.contains(found, x).all()
