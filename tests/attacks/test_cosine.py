"""The angle between the exact and BPDA's gradient, through purifiers whose Jacobian is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.cosine import gradient_cosine
from attacks.gradients import Eot, Exact
from attacks.pgd import PGD
from bench import api
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.measure.judge import Outcome, evaluate
from bench.plan.plan import make
from bench.plan.request import Request
from tests.tiny import SIZE, Affine, Noise, images, labels, smooth

PROBE = ThreatModel.parse("probe:linf:8/255")


def rotation(angle: float) -> Affine:
    """Every second pixel and the next one turn by `angle`."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    return Affine(torch.kron(torch.eye(SIZE // 2), turn))


class Identity(Purifier):
    def forward(self, x: Tensor) -> Tensor:
        return 1 * x


def probed(purifier: Purifier, **settings: Any) -> Outcome:
    defense, x = Defense(smooth(), [purifier]), images()
    attack = gradient_cosine(**{"steps": 5, "eot": 4, **settings})
    return evaluate(defense, attack, x, labels(defense, x), PROBE, key="cell")


@pytest.mark.parametrize("purifier", [Identity(), Noise(0.3)])
def test_where_the_jacobian_is_the_identity_the_cosine_is_one(purifier: Purifier) -> None:
    trace = probed(purifier).trace
    assert trace["first_cosine"] == trace["last_cosine"] == (1.0,) * 8


@pytest.mark.parametrize("degrees", [0, 30, 90, 120])
def test_a_rotation_gives_the_cosine_of_its_angle(degrees: int) -> None:
    trace = probed(rotation(math.radians(degrees))).trace
    for key in ("first_cosine", "last_cosine"):
        assert trace[key] == pytest.approx([math.cos(math.radians(degrees))] * 8, abs=1e-5)


def test_both_gradients_are_means_over_the_same_draws() -> None:
    """Of a network with noise before a rotation: the draws differ, the angle does not."""

    class Noisy(Affine):
        traits = Traits(random=True)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.5 * torch.randn_like(x))

    trace = probed(Noisy(rotation(math.radians(60)).matrix)).trace
    assert trace["first_cosine"] == pytest.approx([0.5] * 8, abs=1e-5)


def test_it_costs_what_the_exact_search_costs_and_others_record_no_cosine() -> None:
    defense, x = Defense(smooth(), [Noise(0.1)]), images()
    y, ball = labels(defense, x), ThreatModel.parse("linf:8/255")
    plain = PGD(Eot(Exact(), 4), 5, keep="loss")
    usual = evaluate(defense, plain, x, y, ball, key="cell")
    compared = probed(Noise(0.1))
    assert compared.calls == usual.calls
    assert torch.equal(compared.attacked.x_adv, usual.attacked.x_adv)
    assert compared.attacked.gradient == "exact"
    assert not any("cosine" in key for key in usual.trace)


def test_it_is_a_threat_of_its_own_and_needs_two_gradients() -> None:
    asked = Request(["adp:steps=1,runs=2"], ["gradient-cosine"], "digits", controls=[])
    plan, _ = make(asked)
    assert {planned.cell.threat for planned in plan.cells} == {"probe:linf:0.125"}
    assert {skip.defense for skip in plan.skips} == {"none@natural"}
    skip = api.find_attack("gradient-cosine").skip
    assert "nothing to compare" in str(skip({}, Traits(identity=True)))
    assert "nothing to compare" in str(skip({}, Traits(exact=False)))
    assert skip({}, Traits()) is None
