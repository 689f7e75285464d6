"""Langevin purification against closed forms of a quadratic energy, and its exact gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.api import find_defense
from bench.api.purifier import Network
from bench.models.nets.ebm import EBM, softened
from bench.spec import parse_part
from defenses.langevin import Kinked, Langevin

STIFFNESS = 0.1


def well(x: Tensor) -> Tensor:
    """E = STIFFNESS |x - .2|^2 / 2 on [-1,1] images."""
    return STIFFNESS * (x - 0.2).square().flatten(1).sum(1) / 2


def quadratic(steps: int, step: float = 1.0, noise: float = 0.01) -> Langevin:
    return Langevin(Network(torch.nn.Identity(), "energy", well), steps, step, noise)


def test_without_noise_it_is_gradient_descent() -> None:
    """Each step multiplies the distance to the minimum by 1 - step * stiffness."""
    x = torch.rand(3, 1, 2, 2, dtype=torch.double)
    end = 2 * quadratic(7, step=2.0, noise=0.0)(x) - 1
    torch.testing.assert_close(end - 0.2, (2 * x - 1 - 0.2) * 0.8**7)


def test_a_long_run_forgets_the_image_and_has_the_variance_of_the_energy() -> None:
    """Stationary variance of x <- (1 - k) x + noise n is noise^2 / (1 - (1 - k)^2)."""
    torch.manual_seed(0)
    x = torch.rand(2000, 1, 2, 1, dtype=torch.double)
    end = 2 * quadratic(150, noise=0.05)(x) - 1
    assert end.mean().item() == pytest.approx(0.2, abs=5e-3)
    assert end.var().item() == pytest.approx(0.05**2 / (1 - 0.9**2), rel=0.06)


def test_direction_leads_down_the_energy() -> None:
    x = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1)
    torch.testing.assert_close(quadratic(1).direction(x), -STIFFNESS * (2 * x - 1.2))


def test_the_gradient_goes_through_every_step_of_a_smooth_energy() -> None:
    torch.manual_seed(0)
    net = EBM(channels=1, width=4, stages=1, activation="silu").double()
    for parameter in net.parameters():
        parameter.data.mul_(3)
    energy = Network(net, "energy")
    defense = Langevin(energy, 5, 0.5, 0.01)

    def purify(x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            purified: Tensor = defense(x)
            return purified

    x = 0.3 + 0.4 * torch.rand(40, 1, 8, 8, dtype=torch.double)
    v, along, h = torch.randn_like(x), torch.randn_like(x), 1e-6
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(purify(point), point, v)
    assert (energy.forwards, energy.backwards) == (2 * 5 * 40, 2 * 5 * 40)
    with torch.no_grad():
        slope = ((purify(x + h * along) - purify(x - h * along)) * v).sum() / (2 * h)
    torch.testing.assert_close((gradient * along).sum(), slope, rtol=1e-5, atol=1e-8)
    # It is not the gradient that BPDA assumes.
    assert ((v * along).sum() - slope).abs() > 1e-3 * slope.abs()


def test_the_surrogate_walks_alike_and_follows_rounded_kinks() -> None:
    """E = leaky(w x), one step: the identity less step * w w' times the softplus' curvature."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 1, bias=False)
    kinked = torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.LeakyReLU(0.05)).double()
    soft, step = softened(kinked, 7.0), 0.2
    energy, rounded = (
        Network(net, "energy", lambda x, n=net: n(x)[:, 0]) for net in (kinked, soft)
    )
    walk = Kinked(energy, 1, step, 0.0, rounded=rounded)
    x = 0.4 + 0.2 * torch.rand(6, 1, 2, 2, dtype=torch.double)
    w = linear.weight[0].detach()
    u = (2 * x - 1).flatten(1) @ w
    point = x.clone().requires_grad_()
    out = walk.surrogate(point)
    torch.testing.assert_close(out.detach(), walk(x), rtol=0, atol=0)
    slopes = torch.where(u > 0, 1.0, 0.05)[:, None] * w
    torch.testing.assert_close((out - x).flatten(1), -step * slopes / 2)
    v = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(out, point, v)
    planned = find_defense("langevin").surrogate_calls({"steps": 1})
    counted = (energy.forwards - 6 + rounded.forwards, energy.backwards - 6 + rounded.backwards)
    assert planned == {"energy": (counted[0] / 6, counted[1] / 6)}
    s = torch.sigmoid(7 * u)
    curvature = 0.95 * 7 * s * (1 - s)
    expected = v.flatten(1) - step * (curvature * (v.flatten(1) @ w))[:, None] * w
    torch.testing.assert_close(gradient.flatten(1), expected)
    # What autograd makes of the kinked energy is the identity.
    (plain,) = torch.autograd.grad(Langevin(energy, 1, step, 0.0)(point), point, v)
    torch.testing.assert_close(plain, v)


def test_what_is_declared() -> None:
    plugin = find_defense("langevin")

    def settings(text: str, dataset: str = "") -> dict[str, str | int | float | bool]:
        return dict(plugin.resolve(parse_part(text), dataset).settings)

    paper = settings("langevin")
    assert (paper["steps"], paper["step"], paper["noise"], paper["runs"]) == (1500, 1.0, 0.01, 150)
    declared = plugin.traits(paper)
    assert (declared.random, declared.runs, declared.exact) == (True, 150, False)
    assert declared.surrogate
    assert plugin.weights(paper) == ("ebm-igebm",)
    for dataset in ("patches", "digits"):
        embedded = settings("langevin", dataset)
        assert plugin.traits(embedded).exact
        assert not plugin.traits(embedded).surrogate
        assert plugin.weights(embedded) == ("ebm",)
    quiet = plugin.traits(settings("langevin:noise=0"))
    assert (quiet.random, quiet.runs) == (False, 1)
