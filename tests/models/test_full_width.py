"""The papers' networks at full width, random weights, on two images of CIFAR-10's shape.

Minutes on a CPU: `pytest -m slow tests/models/test_full_width.py`
"""

from __future__ import annotations

import pytest
import torch

from attacks.gradients import Bpda, Eot, Exact
from bench.estimate import untrained

pytestmark = pytest.mark.slow
SHORT = (
    *("scoreopt-n:steps=1", "aid@madry", "denoise:runs=1", "langevin:steps=2", "smoothing@noisy"),
    *("diffpure:steps=2,t=50", "gdmp:steps=2,rounds=1", "gradual:forward=20x2,steps=2"),
)


@pytest.mark.parametrize("spec", ["adp", "scoreopt-o", *SHORT])
def test_a_purification(spec: str) -> None:
    defense = untrained.defense(spec, untrained.context("cifar10", "cpu"))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        z = defense.purify(x)
        logits = defense.classifier(z)
    assert z.shape == x.shape
    assert torch.isfinite(z).all()
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("spec", ["adp", "scoreopt-o"])
def test_one_step_of_bpda_eot_and_one_of_the_exact_gradient(spec: str) -> None:
    defense = untrained.defense(spec, untrained.context("cifar10", "cpu"))
    x, y = torch.rand(2, 3, 32, 32), torch.tensor([3, 7])
    for gradient in (Eot(Bpda(), 2), Exact()):
        slope = gradient(defense, x, y)
        assert slope.gradient.shape == x.shape
        assert torch.isfinite(slope.gradient).all()
        assert slope.gradient.flatten(1).abs().amax(1).min() > 0
        assert torch.isfinite(slope.loss).all()
