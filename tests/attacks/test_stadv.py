"""Flows whose best is known: a shift of one pixel, a budget below it, smoothness, invariance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from attacks.gradients import Blind, Bpda, Eot
from attacks.stadv import StAdv, roughness, warp
from bench import api
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.measure.judge import evaluate
from bench.plan.plan import make
from bench.plan.request import Request
from bench.threat import NORMS
from tests.tiny import Levels, Linear, Noise, images

SIDE = 5
PIXEL = 2 / (SIDE - 1)
"""In the units of a flow."""


def stripe() -> Tensor:
    """Two images that are black but for a white column in the middle."""
    x = torch.zeros(2, 1, SIDE, SIDE)
    x[:, :, :, 2] = 1
    return x


def columns() -> Network:
    """Class 0 where the middle column holds more than the one to its right."""
    weight = torch.zeros(2, 1, SIDE, SIDE)
    weight[0, :, :, 2] = weight[1, :, :, 3] = 1
    return Network(Linear(weight), "classifier")


def attacked(defense: Defense, x: Tensor, budget: float, tau: float = 0.0) -> Tensor:
    attack = StAdv(Blind("margin"), steps=40, tau=tau)
    y, threat = torch.zeros(len(x), dtype=torch.long), ThreatModel("flow", budget)
    outcome = evaluate(defense, attack, x, y, threat, key="cell")
    return outcome.attacked.x_adv


def test_a_shift_of_one_pixel_flips_the_class() -> None:
    defense, x = Defense(columns()), stripe()
    assert defense.predict(x).tolist() == [0, 0]
    moved = attacked(defense, x, PIXEL)
    assert defense.predict(moved).tolist() == [1, 1]
    torch.testing.assert_close(moved[:, :, :, 3], torch.ones(2, 1, SIDE))


def test_less_than_half_a_pixel_does_not() -> None:
    """What is read at most .4 of a pixel away is .6 of one column and .4 of the other."""
    defense, x = Defense(columns()), stripe()
    moved = attacked(defense, x, 0.4 * PIXEL)
    assert defense.predict(moved).tolist() == [0, 0]
    torch.testing.assert_close(moved[:, :, :, 2], torch.full((2, 1, SIDE), 0.6))
    torch.testing.assert_close(moved[:, :, :, 3], torch.full((2, 1, SIDE), 0.4))


def test_smoothness_pulls_the_flow_to_zero() -> None:
    """A rough flow costs more than it gains, from some weight on; a common shift costs nothing."""
    defense, x = Defense(columns()), images(4, (1, SIDE, SIDE))
    sizes = [
        float((attacked(defense, x, PIXEL, tau) - x).square().sum()) for tau in (0.0, 0.3, 100.0)
    ]
    assert sizes[0] > 1.05 * sizes[1] > 0.1
    assert sizes[2] < 1e-6
    flow = torch.zeros(1, 3, 4, 2)
    flow[0, 1, 1, 0] = 0.5
    # Four neighbours, each counted from both sides; the tiny floor is that of the root.
    torch.testing.assert_close(roughness(flow), torch.tensor([4.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(roughness(flow * 0 + 0.3), torch.zeros(1), atol=1e-3, rtol=0)


class Brightest(nn.Module):
    """Logits [B,2] of whether the brightest pixel is above a half: no shift changes it."""

    def forward(self, x: Tensor) -> Tensor:
        top = x.flatten(1).amax(1)
        return torch.stack([top, 1 - top], 1)


def test_a_classifier_that_no_shift_changes_stays_robust() -> None:
    defense = Defense(Network(Brightest(), "classifier"))
    x = torch.zeros(2, 1, SIDE, SIDE)
    x[:, :, :, :3] = 0.9
    assert defense.predict(attacked(defense, x, PIXEL)).tolist() == [0, 0]


def test_a_flow_of_whole_pixels_is_a_shift() -> None:
    x = images(2, (3, 4, SIDE))
    flow = torch.zeros(2, 4, SIDE, 2)
    torch.testing.assert_close(warp(x, flow), x)
    flow[..., 0] = PIXEL
    shifted = torch.cat([x[..., 1:], x[..., -1:]], 3)
    torch.testing.assert_close(warp(x, flow), shifted)
    flow[..., 0], flow[..., 1] = 0, -2 / 3
    torch.testing.assert_close(warp(x, flow), torch.cat([x[:, :, :1], x[:, :, :-1]], 2))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 10**6))
def test_every_flow_within_its_budget_is_within_the_threat(budget: float, seed: int) -> None:
    x = images(2, (2, 4, 7), seed)
    drawn = torch.rand(2, 4, 7, 2, generator=torch.Generator().manual_seed(seed))
    assert ThreatModel("flow", budget).contains(warp(x, (2 * drawn - 1) * budget), x).all()


def test_what_no_flow_of_that_reach_gives_is_outside() -> None:
    x, threat = stripe(), ThreatModel("flow", PIXEL)
    far = torch.zeros_like(x)
    far[:, :, :, 4] = 1
    assert threat.contains(x.roll(1, 3), x).all()
    assert not threat.contains(far, x).any()
    assert ThreatModel("flow", 2 * PIXEL).contains(far, x).all()
    assert not threat.contains(x + 0.01, x).any()


@pytest.mark.parametrize("purifier", [Levels(3), Noise(0.01)])
def test_it_goes_through_a_purifier_as_bpda_does(purifier: Levels | Noise) -> None:
    defense, x = Defense(columns(), [purifier]), stripe()
    attack = StAdv(Eot(Bpda("margin"), 4), steps=40, tau=0.0)
    y = torch.zeros(2, dtype=torch.long)
    found = evaluate(defense, attack, x, y, ThreatModel("flow", PIXEL), draws=3, key="cell")
    assert not found.correct.any()
    assert {"first_loss", "last_loss"} <= found.trace.keys()


def test_its_threat_is_its_own_whatever_the_board() -> None:
    asked = Request(["none"], ["stadv", "stadv:budget=0.1"], "digits", "l2:0.5", controls=[])
    plan, _ = make(asked)
    assert [planned.cell.threat for planned in plan.cells] == ["flow:0.05", "flow:0.1"]
    assert api.find_attack("stadv").norms == NORMS
