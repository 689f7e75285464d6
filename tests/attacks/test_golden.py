"""Classifier PGD against the points that ADP's authors' code makes (Foolbox)."""

from __future__ import annotations

import pytest
import torch

from attacks.gradients import Blind
from attacks.losses import cross_entropy
from attacks.pgd import PGD
from bench.defense import Defense, Network
from bench.nets.normalised import Normalised
from bench.threat import ThreatModel
from tests.reference import Classifier, tensors_of

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
