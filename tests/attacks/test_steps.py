"""How searches move: APGD as its authors' library does, momentum by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.gradients import Blind, Bpda, Eot, Slope
from attacks.library import View
from attacks.losses import AnyLoss
from attacks.pgd import PGD
from attacks.steps import Auto, Momentum, Search, _AutoWalk
from attacks.targets import Likeliest
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from tests.tiny import Levels, Noise, images, labels, linear, smooth

EPS = {"linf": 0.06, "l2": 0.3}


def library(norm: str, loss: str, steps: int, defense: Defense) -> Any:
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    kind = APGDAttack_targeted if loss.endswith("targeted") else APGDAttack
    names = {"linf": "Linf", "l2": "L2"}
    found = kind(View(defense), n_iter=steps, norm=names[norm], eps=EPS[norm], seed=0)
    found.loss = loss
    return found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("steps", [10, 40])
def test_apgd_moves_as_the_authors_library(
    norm: str, loss: AnyLoss, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense, threat = Defense(smooth(12, (1, 8, 8)), [Levels(33)]), ThreatModel(norm, EPS[norm])
    x = images(8, (1, 8, 8))
    y = labels(defense, defense.purify(x))
    start = threat.random_start(x)
    search = library(norm, loss, steps, defense)
    search.init_hyperparam(x)
    highest, _, losses, _ = search.attack_single_run(x, y, x_init=start)
    monkeypatch.setattr(ThreatModel, "random_start", lambda self, images: start.clone())
    ours = PGD(Bpda(loss), steps, 2.0, True, keep="loss", rule=Auto())(defense, x, y, threat)
    torch.testing.assert_close(ours.x_adv, highest, atol=1e-5, rtol=0)
    assert ours.trace is not None
    torch.testing.assert_close(ours.trace.loss.amax(0), losses, atol=1e-4, rtol=1e-4)
    assert len(ours.trace.loss) == steps + 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_apgd_aims_at_one_wrong_class_after_the_other(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense, threat = Defense(smooth(12, (1, 8, 8))), ThreatModel(norm, EPS[norm])
    x = images(8, (1, 8, 8))
    y = labels(defense, x)
    monkeypatch.setattr(ThreatModel, "random_start", lambda self, images: images.clone())
    offered: list[Tensor] = []
    monkeypatch.setattr("attacks.keep.Best.offer", lambda self, x, index: offered.append(x.clone()))
    follow = Blind("dlr-t")
    search = PGD(follow, 20, 2.0, True, 3, keep="loss", targets=Likeliest(), rule=Auto())
    search(defense, x, y, threat)
    theirs = library(norm, "dlr-targeted", 20, defense)
    theirs.init_hyperparam(x)
    assert len(offered) == 3
    for place, found in enumerate(offered):
        theirs.y_target = defense.classifier(x).argsort(1)[:, -place - 2]
        highest = theirs.attack_single_run(x, y, x_init=x)[0]
        torch.testing.assert_close(found, highest, atol=1e-4, rtol=0)


def test_apgd_steps_by_the_mean_over_draws() -> None:
    """On a linear margin the mean loss is that of the mean image: as without noise."""
    x = images(16)
    points = []
    for purifiers in ([], [Noise(0.2)]):
        defense, threat = Defense(linear(), purifiers), ThreatModel("linf", 0.3)
        y = labels(defense, x)
        torch.manual_seed(0)
        attack = PGD(Eot(Bpda("margin"), 400), 12, 2.0, keep="loss", rule=Auto())
        points.append(attack(defense, x, y, threat).x_adv)
    torch.testing.assert_close(points[0], points[1])


def test_momentum_is_the_decaying_sum_of_normed_gradients() -> None:
    # Each ten times as long as the one before, which normed says nothing.
    given = [
        10**i * torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(i))
        for i in range(3)
    ]
    left = list(given)

    def gradient(defense: Defense, x: Tensor, y: Tensor) -> Slope:
        return Slope(left.pop(0), torch.zeros(len(x)))

    defense, threat = Defense(linear()), ThreatModel("linf", 0.1)
    x, y = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.long)
    found = PGD(gradient, 3, 0.25, rule=Momentum(0.5))(defense, x, y, threat).x_adv
    expected, speed = x, torch.zeros_like(x)
    for g in given:
        speed = 0.5 * speed + g / g.abs().sum((1, 2, 3), keepdim=True)
        expected = expected + 0.025 * speed.sign()
    torch.testing.assert_close(found, expected)
    still = PGD(Blind(), 3, 0.25, rule=Momentum(0.0))(defense, x, y, threat).x_adv
    torch.testing.assert_close(still, PGD(Blind(), 3, 0.25)(defense, x, y, threat).x_adv)


@pytest.mark.parametrize(("steps", "windows"), [(3, (1, 1, 1)), (100, (22, 6, 3))])
def test_apgd_looks_back_over_the_papers_windows(steps: int, windows: tuple[int, ...]) -> None:
    """.22, .06 and .03 of the steps, and one step at least (Croce & Hein 2020, section 3.1)."""
    x = images()
    ball = ThreatModel("linf", 0.1)

    def turn(point: Tensor, slope: Slope) -> Tensor:
        return ball.steepest(slope.gradient)

    walk = _AutoWalk(Auto(), Search(x, ball, steps, 2.0, turn))
    assert (walk.window, walk.shortest, walk.shorter) == windows
