"""How far the draws of a gradient differ, against what Gaussian draws must give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks.family import pgd_exact
from attacks.gradients import Bpda, Eot
from attacks.spread import spread
from attacks.strict import apgd_strict, pgd_strict
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.measure.judge import evaluate
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.record import SPREAD
from tests.tiny import Affine, Noise, Quadratic, images, labels, smooth

PIXELS = 100_000


def drawn(draws: int, signal: float, noise: float = 1.0, seed: int = 0) -> Tensor:
    """Gradients [draws,1,PIXELS] of one image: a mean of that size, and noise."""
    random = torch.Generator().manual_seed(seed)
    mean = signal * torch.randn(1, PIXELS, generator=random)
    return mean + noise * torch.randn(draws, 1, PIXELS, generator=random)


@pytest.mark.parametrize("draws", [2, 10])
def test_noise_alone_is_all_variance_and_turns_a_quarter_of_the_signs(draws: int) -> None:
    """Means of n and of 2n draws of noise correlate by 1/sqrt(2): acos of that over pi differ."""
    found = spread(drawn(draws, 0.0))
    assert found is not None
    assert float(found.variance) == pytest.approx(1 / (1 + 1 / draws), abs=0.01)
    assert float(found.cosine) == pytest.approx(0, abs=0.02)
    assert float(found.turning) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("draws", [5, 20, 64])
def test_as_many_signs_turn_as_were_foretold(draws: int) -> None:
    every = drawn(2 * draws, 1.0, 2.0)
    found = spread(every[:draws])
    assert found is not None
    turned = (every[:draws].mean(0).sign() != every.mean(0).sign()).float().mean()
    assert float(found.turning) == pytest.approx(float(turned), rel=0.05)
    assert float(found.variance) == pytest.approx(4 / (4 + 1 + 4 / draws), abs=0.01)
    half = draws // 2
    assert float(found.cosine) == pytest.approx(1 / (1 + 4 / half), abs=0.02)


def test_draws_that_agree_turn_nothing_and_nothing_is_infinite() -> None:
    same = spread(torch.ones(4, 2, 3))
    assert same is not None
    for part, value in zip(same, (0.0, 1.0, 0.0), strict=True):
        torch.testing.assert_close(part, torch.full((2,), value))
    for value in (0.0, float("nan")):
        lost = spread(torch.full((4, 2, 3), value))
        assert lost is not None
        assert all(part.isfinite().all() for part in lost)
    assert spread(torch.ones(1, 2, 3)) is None


def test_a_look_says_it_of_its_own_draws() -> None:
    """The gradient of |z|^2 / 2 is z: image plus noise."""
    defense, x = Defense(Network(Quadratic(), "classifier"), [Noise(0.3)]), images()
    y = torch.zeros(8, dtype=torch.long)
    torch.manual_seed(5)
    expected = spread(x + 0.3 * torch.randn(6, *x.shape))
    torch.manual_seed(5)
    found = Eot(Bpda("margin"), 6, spread=True)(defense, x, y).spread
    assert expected is not None
    assert found is not None
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


STRICT = (pgd_strict(steps=3, eot=4, start="own"), apgd_strict(steps=3, eot=4, start="own"))


@pytest.mark.parametrize("attack", [*STRICT, pgd_exact(steps=3, eot=4)])
def test_strict_searches_record_it_of_random_defenses(attack: Attack) -> None:
    x, threat = images(), ThreatModel("linf", 0.02)
    kept = []
    for purifier in (Noise(0.2), Affine(torch.eye(16))):
        defense = Defense(smooth(), [purifier])
        kept.append(evaluate(defense, attack, x, labels(defense, x), threat, key="cell").trace)
    random, still = kept
    assert not set(SPREAD) & set(still)
    assert set(SPREAD) & set(random) == (set(SPREAD) if attack in STRICT else set())
    for name in set(SPREAD) & set(random):
        low = -1 if name == "half_cosine" else 0
        assert all(low <= value <= 1 for value in random[name])


@pytest.mark.parametrize("draws", [20, 64, 128])
def test_strict_takes_as_many_draws_as_are_typed(draws: int) -> None:
    asked = [f"{name}:protocol=strict,eot={draws}" for name in ("pgd", "apgd")]
    request = Request(["adp"], asked, dataset="digits", preset="quick", images=32, controls=[])
    plan, draft = make(request)
    for planned, cost in zip(plan.cells, draft.costs, strict=True):
        if planned.defense == "adp@natural":
            assert cost.networks["classifier"][1] == 2 * 11 * draws
