"""Whether an exact gradient is that of the loss, on purifiers whose gradient is right or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from attacks.differences import gradient_error, in_float64
from bench.api import find_attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.measure.judge import evaluate
from tests.boards.flags.rows import N, alarms, flags_of
from tests.tiny import SIZE, Affine, Noise, images, labels, smooth

PROBE = ThreatModel.parse("probe:linf:8/255")


def errors(purifier: Purifier) -> Tensor:
    defense, x = Defense(smooth(), [purifier]), images()
    outcome = evaluate(defense, gradient_error(), x, labels(defense, x), PROBE, key="cell")
    assert torch.equal(outcome.attacked.x_adv, x)
    return torch.tensor(outcome.trace["gradient_error"])


class Steep(Purifier):
    """x, whose gradient is said to be `factor` times as large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x.detach() + self.factor * (x - x.detach())


class Half(Purifier):
    """x, of which every second pixel is detached: right along what is left of the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        seen = (torch.arange(SIZE) % 2).view_as(x[0]).bool()
        return torch.where(seen, x, x.detach())


@pytest.mark.parametrize("purifier", [Affine(torch.eye(SIZE).roll(1, 0)), Noise(0.3), Steep(1.0)])
def test_a_right_gradient_has_no_error(purifier: Purifier) -> None:
    assert errors(purifier).max() < 1e-5


@pytest.mark.parametrize(("factor", "error"), [(0.8, 0.2), (1.25, 0.2), (-1.0, 2.0)])
def test_a_gradient_of_another_length_is_that_far_off(factor: float, error: float) -> None:
    torch.testing.assert_close(errors(Steep(factor)), torch.full((8,), error), atol=1e-4, rtol=0)


def test_a_part_that_the_gradient_leaves_out_shows_across_it() -> None:
    assert errors(Half()).median() > 0.2


class Lost(Purifier):
    """x, whose gradient is not a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * (x - x.detach()).sqrt()


def test_a_gradient_that_is_not_a_number_is_as_wrong_as_can_be() -> None:
    assert errors(Lost()).tolist() == [2.0] * 8


def test_networks_and_plain_tensors_are_what_they_were() -> None:
    network, affine = smooth(), Affine(torch.eye(SIZE))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    matrix, weight = affine.matrix, next(network.parameters())
    with in_float64(Defense(network, [affine])):
        assert affine.matrix.dtype == weight.dtype == torch.float64
    assert affine.matrix is matrix
    assert weight is next(network.parameters())
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])


def test_it_needs_an_exact_gradient() -> None:
    skip = find_attack("gradient-error").skip
    assert skip({}, Traits(exact=False)) == "no exact gradient: nothing to check"
    assert skip({}, Traits()) is None


@pytest.mark.parametrize(("wrong", "rings"), [(0.04, False), (0.06, True)])
def test_a_wrong_gradient_is_an_alarm_and_a_right_one_a_note(
    tmp_path: Path, wrong: float, rings: bool
) -> None:
    error = [0.5 if n < wrong * N else 1e-7 for n in range(N)]
    columns = {"gradient-error": (0.9, 1, {"gradient_error": error})}
    found = flags_of(tmp_path, "adp@natural", columns)
    assert [flag.kind for flag in found] == ["alarm"] * rings + ["note"]
    assert "1e-07 of the slope apart on the middle image, 0.5 at most" in found[-1].text
    assert bool(alarms(found)) == rings
