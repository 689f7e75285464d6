"""DISCO: a local function, an attack in its training, a cascade."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api.purifier import Network
from bench.models.nets import make
from defenses.disco import DISCO, attacked


def test_a_pixel_depends_on_its_surroundings_alone() -> None:
    """The stem, two convolutions of a block, one after it and one around reach 5 pixels far."""
    torch.manual_seed(0)
    net = make("disco", {"channels": 1, "width": 4, "blocks": 1, "hidden": 8}).double()
    x = torch.rand(1, 1, 15, 15, dtype=torch.double, requires_grad=True)
    (g,) = torch.autograd.grad(net(x)[0, 0, 7, 7], x)
    reach = 5
    seen = g[0, 0].abs() > 0
    inside = torch.zeros(15, 15, dtype=torch.bool)
    inside[7 - reach : 8 + reach, 7 - reach : 8 + reach] = True
    assert not (seen & ~inside).any()
    assert seen[7 - reach, 7]


def test_a_cascade_is_the_network_over_and_over_and_clipped() -> None:
    def up(x: Tensor) -> Tensor:
        return 1.5 * x + 0.1

    net = Network(nn.Identity(), "purifier", up)
    x = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1)
    torch.testing.assert_close(DISCO(net, 1)(x).flatten(), torch.tensor([0.25, 0.85, 1.0]))
    torch.testing.assert_close(DISCO(net, 2)(x).flatten(), torch.tensor([0.475, 1.0, 1.0]))


def test_the_attack_in_training_stays_in_each_ball_and_raises_the_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.rand(8, 1, 4, 4), torch.randint(3, (8,))
    eps = torch.linspace(0, 0.2, 8).view(-1, 1, 1, 1)
    z = attacked(net, x, y, eps)
    assert ((z - x).abs() <= eps + 1e-6).all()
    assert torch.equal(z[0], x[0])
    before, after = (F.cross_entropy(net(v), y, reduction="none") for v in (x, z))
    assert (after[1:] > before[1:]).all()
