"""Contrastive divergence on energies whose best parameters are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import find_dataset, find_defense
from bench.compute.rng import seeded
from bench.models.nets.ebm import EBM
from bench.spec import parse_part
from bench.training.energy import contrastive, matching, usefulness, walk
from bench.training.recipes import recipe

NOISE = 0.05
TEMPERATURE = NOISE**2 / 2


class Well(EBM):
    """E = stiffness |x - centre|^2 / 2."""

    def __init__(self, stiffness: float, centre: float) -> None:
        nn.Module.__init__(self)
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=torch.double))
        self.centre = nn.Parameter(torch.tensor(centre, dtype=torch.double))

    def forward(self, x: Tensor) -> Tensor:
        return self.stiffness * (x - self.centre).square().flatten(1).sum(1) / 2


def images(spread: float, centre: float = 0.2, count: int = 4000) -> Tensor:
    """Gaussian pixels about `centre` in [-1,1], given in [0,1]."""
    x = centre + spread * torch.randn(count, 1, 2, 2, dtype=torch.double)
    return (x + 1) / 2


def gradients(module: Well, x: Tensor, steps: int = 30) -> list[float]:
    loss = contrastive(steps=steps, noise=NOISE, spread=0.0, blur=0.0, decay=0.0)
    with seeded("test"):
        value = loss(module, x, torch.zeros(len(x)))
    return [g.item() for g in torch.autograd.grad(value, [module.stiffness, module.centre])]


def test_contrastive_divergence_vanishes_at_the_true_energy() -> None:
    """Stationary variance of the walk, noise^2 / (1 - (1-k)^2), equal to the data's."""
    k = 0.1
    torch.manual_seed(0)
    x = images(NOISE / (1 - (1 - k) ** 2) ** 0.5)
    at_truth = gradients(Well(k, 0.2), x)
    stiff, loose = gradients(Well(3 * k, 0.2), x)[0], gradients(Well(k / 3, 0.2), x)[0]
    shifted = gradients(Well(k, 0.25), x)[1]
    assert abs(at_truth[0]) < 0.1 * min(abs(stiff), abs(loose))
    assert abs(at_truth[1]) < 0.1 * abs(shifted)
    # Descent: too stiff becomes looser, too loose stiffer, and the centre moves back.
    assert stiff > 0 > loose
    assert shifted > 0


def test_score_matching_vanishes_at_the_share_of_noise_to_be_expected() -> None:
    """For pixels of variance v a share sigma^2 / (v + sigma^2) of the deviation is noise."""
    torch.manual_seed(0)
    x, sigma, rate = images(0.2, count=20000), 0.1, 0.3
    best = rate * sigma**2 / (0.2**2 + sigma**2)
    loss = matching(rate=rate, levels=(sigma, sigma))

    def pull(module: Well) -> list[float]:
        with seeded("test"):
            value = loss(module, x, torch.zeros(len(x)))
        return [g.item() for g in torch.autograd.grad(value, [module.stiffness, module.centre])]

    stiff, loose = pull(Well(1.5 * best, 0.2))[0], pull(Well(best / 2, 0.2))[0]
    assert stiff > 0 > loose
    assert abs(pull(Well(best, 0.2))[0]) < 0.05 * stiff
    assert pull(Well(best, 0.25))[1] > 0 > pull(Well(best, 0.15))[1]
    with seeded("test"):
        assert loss(Well(0.0, 0.2), x, torch.zeros(len(x))).item() == pytest.approx(1, abs=0.02)


def test_figures_of_merit_of_a_quadratic_energy() -> None:
    """Without data spread: what is left of noise s after N steps, and energies k D (2s)^2 / 2T."""
    k, steps, s = 0.1, 12, 0.1
    x = torch.full((20000, 1, 2, 2), 0.6, dtype=torch.double)
    measure = usefulness(steps=steps, noise=NOISE, levels=(s,))
    figures = measure(Well(k, 0.2), x, torch.zeros(len(x)))
    floor = NOISE**2 * (1 - (1 - k) ** (2 * steps)) / (1 - (1 - k) ** 2)
    left = (1 - k) ** (2 * steps) + floor / (2 * s) ** 2
    assert figures["left@0.1"] == pytest.approx(left, rel=0.02)
    assert figures["gap@0.1"] == pytest.approx(k * 4 * (2 * s) ** 2 / 2 / TEMPERATURE, rel=0.02)
    assert figures["drift"] == pytest.approx((2 / torch.pi) ** 0.5 * floor**0.5 / 2, rel=0.02)


def test_the_walk_has_no_graph_and_the_loss_trains_only_the_energy() -> None:
    module = EBM(channels=1, width=4, stages=1, activation="silu")
    x = torch.rand(4, 1, 8, 8)
    assert not walk(module, x, 3, NOISE).requires_grad
    loss = contrastive(steps=3, noise=NOISE, spread=0.1, blur=0.02)
    torch.autograd.backward(loss(module, x, torch.zeros(4)))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("dataset", ["patches", "digits"])
def test_the_purifier_walks_as_the_recipe_trained(dataset: str) -> None:
    info = find_dataset(dataset).info
    assert info is not None
    plugin = find_defense("langevin")
    settings = dict(plugin.resolve(parse_part("langevin"), dataset).settings)
    plan = recipe("ebm", info)
    side = 4 << plan.arguments["stages"]
    assert info.shape == (plan.arguments["channels"], side, side)
    from bench.training.recipes import ebm

    assert settings["noise"] == ebm.NOISE
