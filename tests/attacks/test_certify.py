"""Certificates: the authors' decisions, and a classifier whose certified radius is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from attacks.certify import Certify
from attacks.family import Clean
from attacks.gradients import Blind
from attacks.pgd import PGD
from bench.api.attacked import ABSTAINED, Certificate
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute import rng
from bench.errors import BenchError
from bench.measure.judge import evaluate
from bench.stats import certified_radius, clopper_pearson, mcnemar
from tests.reference import tensors_of
from tests.tiny import Linear, Noise, images, smooth

THREAT = ThreatModel.parse("certified")


def certificate(attack: Certify, defense: Defense, x: Tensor, y: Tensor) -> Certificate:
    found = attack(defense, x, y, THREAT).certificate
    assert found is not None
    return found


def test_certificates_are_the_authors() -> None:
    for row in tensors_of("smoothing")["certify"].tolist():
        hits, n, alpha, sigma, share, label, radius = row
        assert abs(clopper_pearson(int(hits), int(n), 1 - 2 * alpha).low - share) < 1e-9
        found = certified_radius(int(hits), int(n), alpha, sigma)
        assert (found is None) == (label == ABSTAINED)
        assert abs((found or 0.0) - radius) < 1e-6


def test_predictions_are_the_authors() -> None:
    for second, seventh, alpha, label in tensors_of("smoothing")["predict"].tolist():
        counts = torch.zeros(10, dtype=torch.long)
        counts[2], counts[7] = int(second), int(seventh)
        attack = Certify(copies=int(second + seventh), alpha=alpha, rule="predict")
        assert attack._predict(counts)[0] == label
        assert (mcnemar(int(second), int(seventh)) > alpha) == (label == ABSTAINED)


class Half(nn.Module):
    """Class 1 where the mean of the image is above 1/2, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-value, value], 1)


def test_the_radius_of_a_half_space_is_its_distance() -> None:
    """Smoothing leaves a half-space as it is; its certificate can come near but not beyond."""
    defense = Defense(Network(Half(), "classifier"))
    shifts = torch.tensor([0.0, 0.01, 0.02, -0.02])
    x = (0.5 + shifts).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    y = (shifts > 0).long()
    torch.manual_seed(0)
    found = certificate(Certify(0.1, 50, 4000), defense, x, y)
    distance = shifts.abs() * 8
    assert found.label.tolist() == [ABSTAINED, 1, 1, 0]
    assert (found.radius <= distance + 1e-9).all()
    assert (found.radius[1:] > 0.85 * distance[1:] - 0.005).all()
    assert found.radius[0] == 0
    share = 0.5 * (1 + math.erf(0.16 / 0.1 / math.sqrt(2)))
    assert abs(found.copies[2] / 4000 - share) < 0.01


def test_nothing_within_the_radius_changes_the_smoothed_class() -> None:
    defense = Defense(smooth())
    x = images(6)
    with rng.work("cell"), rng.stream("attack"):
        proven = certificate(Certify(0.1, 50, 1000), defense, x, torch.zeros(6).long())
    sure = proven.radius > 0
    assert sure.any()
    x, label, radius = x[sure], proven.label[sure], proven.radius[sure]
    direction = PGD(Blind(), 20)(defense, x, label, ThreatModel("l2", 1.0)).x_adv - x
    length = direction.flatten(1).norm(dim=1)
    near = x + direction * (0.99 * radius / length).view(-1, 1, 1, 1).float()
    again = certificate(Certify(0.1, copies=4000, rule="predict"), defense, near, label)
    assert torch.equal(again.label, label)


def test_every_copy_is_one_run() -> None:
    defense = Defense(smooth(), [Noise(0.1)])
    x, y = images(3), torch.zeros(3, dtype=torch.long)
    before = defense.classifier.forwards
    found = certificate(Certify(0.1, 7, 60), defense, x, y)
    assert defense.classifier.forwards - before == 3 * 67
    assert (found.copies <= 60).all()


def test_the_judge_takes_certificates_only_where_something_is_to_be_proven() -> None:
    defense = Defense(Network(Linear(torch.ones(2, 16)), "classifier"))
    x, y = images(4), torch.zeros(4, dtype=torch.long)
    with pytest.raises(BenchError, match="give a certificate"):
        evaluate(defense, Clean(), x, y, THREAT)
    outcome = evaluate(defense, Certify(0.1, 5, 50), x, y, ThreatModel("l2", 1.0), draws=3)
    assert outcome.correct.shape == (1, 3, 4)
    proven = evaluate(defense, Certify(0.1, 5, 50), x, y, THREAT, draws=3)
    assert proven.correct.shape == (1, 1, 4)
    assert proven.calls["classifier"]["judge"] == (0, 0)
