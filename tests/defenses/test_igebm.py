"""IGEBM on a quadratic energy, whose refinement has a closed form; its network knows classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.models.nets import make
from bench.models.nets.igebm import IGEBM
from defenses.igebm import Refined

MEANS = torch.tensor([-0.6, 0.0, 0.6])


class Wells(IGEBM):
    """E(x,y) = |x - mean of y|^2 / 2 on images in [-1,1]."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.classes = len(MEANS)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        far = x - MEANS[y].view(-1, 1, 1, 1)
        return far.square().flatten(1).sum(1) / 2


def refined(steps: int, *, step: float = 0.02, noise: float = 0.0, eps: float = 1.0) -> Refined:
    return Refined(Wells(), steps, step=step, noise=noise, eps=eps)


def test_without_steps_logits_are_minus_the_energies() -> None:
    x = torch.rand(5, 1, 2, 2)
    off = (2 * x - 1).flatten(1)[:, None] - MEANS[None, :, None]
    torch.testing.assert_close(refined(0)(x), -off.square().sum(2) / 2)


def test_unrefined_pixels_at_the_border_keep_their_gradient() -> None:
    x = torch.tensor([0.0, 0.3, 1.0, 0.5]).view(1, 1, 2, 2).requires_grad_()
    logits = refined(0)(x)
    (g,) = torch.autograd.grad(logits[0, 0], x)
    torch.testing.assert_close(g, -2 * (2 * x - 1 - MEANS[0]))


def test_every_class_is_descended_on_its_own_and_the_gradient_knows_it() -> None:
    """In [0,1] a step keeps the share 1 - 4 step of the way to a class's mean."""
    x = (0.4 + 0.2 * torch.rand(4, 1, 2, 2)).requires_grad_()
    logits = refined(3)(x)
    off = (2 * x - 1).flatten(1)[:, None] - MEANS[None, :, None]
    expected = -((1 - 4 * 0.02) ** 6) * off.square().sum(2) / 2
    torch.testing.assert_close(logits, expected)
    v = torch.randn_like(logits)
    found, closed = (
        torch.autograd.grad(out, x, v, retain_graph=True)[0] for out in (logits, expected)
    )
    torch.testing.assert_close(found, closed)
    with torch.inference_mode():
        torch.testing.assert_close(refined(3)(x.detach()), expected)


def test_no_step_leaves_the_ball_around_the_image() -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    logits = refined(50, step=0.2, eps=0.05)(x)
    left = (MEANS.abs() - 0.1).clamp(min=0)
    torch.testing.assert_close(logits[0], -4 * left.square() / 2)


def test_noise_is_fresh_for_each_class() -> None:
    torch.manual_seed(0)
    x = torch.full((2000, 1, 1, 1), 0.5)
    logits = refined(1, step=0.0, noise=0.1)(x)
    spread = (-2 * logits[:, 1]).sqrt()
    assert spread.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.05)
    signs = (logits[:, 0] + 0.18, logits[:, 2] + 0.18)
    assert abs(torch.corrcoef(torch.stack(signs))[0, 1].item()) < 0.1


def test_the_network_is_told_the_class() -> None:
    torch.manual_seed(0)
    net = make("igebm", {"channels": 1, "classes": 3, "widths": [4, 6]})
    assert isinstance(net, IGEBM)
    x = torch.randn(2, 1, 8, 8)
    flat = net.all(x)
    torch.testing.assert_close(flat, flat[:, :1].expand(-1, 3))  # before training: no class differs
    with torch.no_grad():
        net.get_parameter("blocks.0.shift1.weight").normal_()
    told = net.all(x)
    assert (told[:, 0] - told[:, 1]).abs().min() > 1e-4
    torch.testing.assert_close(told[:, 2], net(x, torch.tensor([2, 2])))
