"""Classifier PGD against the points that ADP's authors' code makes (Foolbox)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from attacks.gradients import Blind
from attacks.losses import cross_entropy
from attacks.pgd import PGD
from bench.defense import Defense, Network
from bench.threat import ThreatModel

GOLDEN = Path(__file__).parents[1] / "golden" / "adp_attacks.safetensors"
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


class Classifier(nn.Module):
    """Two strided convolutions on standardised images, the mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.c2 = nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        hidden = self.c2(self.c1((x - mean) / std).relu()).relu()
        logits: Tensor = self.fc(hidden.mean((2, 3)))
        return logits


def test_classifier_pgd_makes_the_reference_points(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_file(GOLDEN)
    net = Classifier()
    net.load_state_dict({k[4:]: v for k, v in data.items() if k.startswith("clf/")})
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
