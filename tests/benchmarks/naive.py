"""The authors' loops in their plain form, written from what they do: what ours is compared with.

Parameters want gradients, every draw is purified by itself, nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Net = Callable[..., Tensor]
Purify = Callable[[Tensor], Tensor]


def adp_code(
    score: Net, sigma: float, steps: int, *, lam: float, delta: float, bounds: tuple[float, float]
) -> Purify:
    """The purification of ADP's code, [B,C,H,W] in [0,1] to the same; no image ever stops."""

    def purify(x: Tensor) -> Tensor:
        x = (x + sigma * torch.randn_like(x)).clamp(0, 1) * (255 / 256) + 1 / 512
        with torch.no_grad():
            for _ in range(steps):
                s = score(x)
                ahead = score(x + delta * s)
                z = (s * ahead).flatten(1).sum(1) / (s * s).flatten(1).sum(1)
                alpha = (lam * delta / (1 - z)).clamp(*bounds).view(-1, 1, 1, 1)
                x = ((x + alpha * s) * (256 / 255) - 1 / 510).clamp(0, 1)
        return x

    return purify


def bpda_votes(
    classifier: nn.Module, purify: Purify, x: Tensor, y: Tensor, *, eps: float, steps: int, eot: int
) -> Tensor:
    """BPDA+EOT of ADP's code: each draw steps 2/255 away from its purified image, and votes."""
    point = x.clone()
    for _ in range(steps):
        moved = torch.zeros_like(x)
        for _ in range(eot):
            z = purify(point).requires_grad_()
            torch.autograd.backward(F.cross_entropy(classifier(z), y))
            assert z.grad is not None
            moved += (z + 2 / 255 * z.grad.sign()).clamp(0, 1).detach() - z.detach()
            with torch.no_grad():
                classifier(z)  # the library looks once more whether it has succeeded
        ahead = (point + 2 / 255 * moved.sign() - x).clamp(-eps, eps)
        point = (x + ahead).clamp(0, 1)
    return point


def scoreopt_o(denoiser: Net, steps: int, lr: float, t: tuple[float, float]) -> Purify:
    """ScoreOpt-O of the authors' code, [0,1] to [0,1]: Adam on the mean of (D(x + te, t) - x)^2."""

    def purify(raw: Tensor) -> Tensor:
        x = (2 * raw - 1).detach().requires_grad_()
        adam = torch.optim.Adam([x], lr=lr)
        for _ in range(steps):
            level = t[0] + (t[1] - t[0]) * torch.rand(())
            levels = level.expand(len(x), 1, 1, 1)
            with torch.enable_grad():
                loss = (denoiser(x + level * torch.randn_like(x), levels) - x).square().mean()
                adam.zero_grad()
                torch.autograd.backward(loss)
            adam.step()
        return ((x.detach() + 1) / 2).clamp(0, 1)

    return purify


def hill(
    classifier: nn.Module,
    purify: Purify,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    steps: int,
    eot: int,
    verify: int,
) -> Tensor:
    """Hill's protocol on one batch: which images, bool [B], still stand after every step."""
    point, defended = x.clone(), torch.ones_like(y, dtype=torch.bool)
    for step in range(-1, steps + 1):
        z = purify(point.repeat(eot, 1, 1, 1)).requires_grad_()
        with torch.enable_grad():
            logits = classifier(z).view(eot, len(x), -1).mean(0)
            loss = F.cross_entropy(logits, y)
        for image in (defended & (logits.argmax(1) != y)).nonzero().flatten().tolist():
            with torch.no_grad():
                many = purify(point[image : image + 1].repeat(verify, 1, 1, 1))
                defended[image] = classifier(many).mean(0).argmax() == y[image]
        if step in (-1, steps):
            continue
        torch.autograd.backward(loss)
        assert z.grad is not None
        slope = z.grad.view(eot, *x.shape).mean(0)
        point = (x + (point + eps / 4 * slope.sign() - x).clamp(-eps, eps)).clamp(0, 1)
    return defended


def by_autograd(score: Net, x: Tensor, *, alpha: float, steps: int) -> Tensor:
    """ADP's fixed steps without noise, with the whole graph kept."""
    x = x.clamp(0, 1)
    for _ in range(steps):
        x = (x + alpha * score(x)).clamp(0, 1)
    return x
