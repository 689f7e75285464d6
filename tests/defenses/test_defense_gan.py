"""Defense-GAN on a linear generator, whose descent has a closed form, and its training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import both_ways, find_defense
from bench.api.purifier import Network
from bench.models.nets import make
from bench.models.nets.wgan import WGAN
from bench.spec import parse_part
from defenses.defense_gan import DefenseGAN, _loss

LATENT, SIDE = 3, 4


class Linear(nn.Module):
    """G(z) = z A + 1/2 as images [B,1,4,4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(0.1 * torch.randn(LATENT, SIDE**2, dtype=torch.double))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = (z @ self.a + 0.5).view(-1, 1, SIDE, SIDE)
        return out


def made(steps: int, *, starts: int = 1, lr: float = 20.0, momentum: float = 0.0) -> DefenseGAN:
    generator = Network(Linear(), "generator")
    return DefenseGAN(generator, LATENT, steps=steps, starts=starts, lr=lr, momentum=momentum)


def matrix() -> Tensor:
    return Linear().a.detach()


def images(count: int = 4) -> Tensor:
    torch.manual_seed(1)
    return 0.3 + 0.4 * torch.rand(count, 1, SIDE, SIDE, dtype=torch.double)


def test_a_descent_from_one_start_is_that_of_a_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z = images(), torch.randn(4, LATENT, dtype=torch.double)
    purifier, a = made(7, momentum=0.6), matrix()
    monkeypatch.setattr(torch, "randn", lambda *size, **k: z.clone())
    velocity, expected = torch.zeros_like(z), z.clone()
    for _ in range(7):
        slope = 2 * (expected @ a + 0.5 - x.flatten(1)) @ a.T / SIDE**2
        velocity = 0.6 * velocity - 20.0 * slope
        expected = expected + velocity
    torch.testing.assert_close(purifier(x).flatten(1), expected @ a + 0.5)


def test_long_descents_end_at_the_nearest_image_of_the_generator() -> None:
    x = images()
    a = matrix()
    nearest = (x.flatten(1) - 0.5) @ torch.linalg.pinv(a) @ a + 0.5
    torch.testing.assert_close(made(3000)(x).flatten(1), nearest, atol=1e-6, rtol=0)


def test_of_many_starts_the_one_that_ends_nearest_is_taken() -> None:
    x, purifier = images(), made(1, starts=50)
    torch.manual_seed(2)
    z = torch.randn(4, 50 * LATENT, dtype=torch.double)
    with torch.no_grad():
        after = z - 20.0 * purifier.slope(z, x.flatten(1))
        least = purifier.errors(after, x.flatten(1))[1].amin(1)
    torch.manual_seed(2)
    torch.testing.assert_close((purifier(x) - x).square().flatten(1).mean(1), least)


def test_its_gradient_goes_through_the_descent_and_costs_what_is_planned() -> None:
    steps, starts = 5, 3
    purifier = made(steps, starts=starts, momentum=0.5)
    x, v = images(), torch.randn(4, 1, SIDE, SIDE, dtype=torch.double)

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        out: Tensor = purifier(x)
        return out

    point = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(run(point), point, v)
    counted = (purifier.generator.forwards / 4, purifier.generator.backwards / 4)
    h, along = 1e-6, torch.randn_like(x)
    with torch.no_grad():
        slope = ((run(x + h * along) - run(x - h * along)) * v).sum() / (2 * h)
    torch.testing.assert_close((g * along).sum(), slope, rtol=1e-5, atol=1e-9)
    plugin = find_defense("defense-gan")
    typed = parse_part(f"defense-gan:steps={steps},starts={starts}")
    settings = dict(plugin.resolve(typed, "").settings)
    ((forwards, backwards),) = both_ways(plugin.calls(settings)).values()
    ((again, back),) = plugin.gradient(settings).values()
    assert counted == (forwards + again, backwards + back)


def test_the_generator_climbs_what_the_critic_lowers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defenses.defense_gan.PENALTY", 0.0)
    torch.manual_seed(0)
    net = make("wgan", {"channels": 1, "side": 8, "latent": 4, "width": 4, "stages": 1})
    assert isinstance(net, WGAN)
    x = torch.rand(16, 1, 8, 8)
    torch.manual_seed(5)
    torch.autograd.backward(_loss(net, x, x))
    torch.manual_seed(5)
    made_of = net(torch.randn(16, 4))
    fooled = torch.autograd.grad(net.judged(made_of).mean(), [*net.generator.parameters()])
    for p, g in zip(net.generator.parameters(), fooled, strict=True):
        torch.testing.assert_close(p.grad, -g)
    apart = net.judged(made_of.detach()).mean() - net.judged(x).mean()
    for p, g in zip(
        net.critic.parameters(), torch.autograd.grad(apart, [*net.critic.parameters()]), strict=True
    ):
        torch.testing.assert_close(p.grad, g)


def test_the_penalty_is_that_of_a_critic_of_known_slope() -> None:
    """A linear critic of slope w has the penalty (|w| - 1)^2 everywhere."""
    net = WGAN(channels=1, side=4, latent=2, width=1, stages=0)
    linear = nn.Linear(16, 1)
    net.critic, w = nn.Sequential(nn.Flatten(), linear), linear.weight
    x = torch.rand(8, 1, 4, 4)
    torch.manual_seed(5)
    loss = _loss(net, x, x)
    torch.manual_seed(5)
    apart = net.judged(net(torch.randn(8, 2))).mean() - net.judged(x).mean()
    torch.testing.assert_close(loss, apart + 10 * (w.norm() - 1).square())
