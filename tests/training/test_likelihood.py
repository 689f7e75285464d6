"""The likelihood of PixelCNN++ as a loss, and its figure of merit."""

from __future__ import annotations

import math

import torch

from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.training.fit import Fit, fit
from bench.training.likelihood import bits, held_out

LEVELS = 5
Y = torch.zeros(8, dtype=torch.long)


def tiny() -> PixelCNNpp:
    return PixelCNNpp(nr_resnet=1, nr_filters=4, nr_logistic_mix=2, input_channels=1, levels=LEVELS)


def stripes(count: int) -> torch.Tensor:
    """Columns of black and white, in one of two phases."""
    torch.manual_seed(0)
    phase = torch.randint(0, 2, (count, 1, 1, 1))
    return ((torch.arange(8) + phase) % 2).expand(count, 1, 8, 8).float()


def test_images_that_follow_a_rule_become_likely() -> None:
    x = stripes(32)
    trained, log = fit(tiny, bits, x, torch.zeros(32), Fit(80, batch=16, lr=2e-2), seed=0)
    uniform = math.log2(LEVELS)
    assert log[-1] < 0.5 * uniform
    figures = held_out(0.5)(trained, stripes(8), Y)
    assert list(figures) == ["bpd", "bpd@0.5"]
    assert figures["bpd"] < 0.5 * uniform
    assert figures["bpd@0.5"] > 2 * figures["bpd"]


def test_the_figure_does_not_depend_on_its_batches() -> None:
    network, x = tiny().eval(), torch.rand(130, 1, 8, 8)
    whole = held_out(0.1)(network, x, torch.zeros(130))["bpd"]
    halves = [held_out(0.1)(network, part, torch.zeros(65))["bpd"] for part in torch.split(x, 65)]
    assert abs(whole - sum(halves) / 2) < 2e-4
