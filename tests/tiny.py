"""Tiny models whose best attack is known, and toy purifiers; shared by the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api.purifier import Defense, Network, Purifier, Traits

SHAPE = (1, 4, 4)
SIZE = 16


class Linear(nn.Module):
    """Logits [B,K] = W (x - 1/2) + b with W [K,C,H,W]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.flatten(1))
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias)

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.weight.T + self.bias


class Quadratic(nn.Module):
    """Logits [B,2] = (-|x|^2 / 2, 0): the margin loss at label 0 is |x|^2 / 2, its gradient x."""

    def forward(self, x: Tensor) -> Tensor:
        value = -x.flatten(1).square().sum(1) / 2
        return torch.stack([value, torch.zeros_like(value)], 1)


def linear(classes: int = 2, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Network:
    """A random linear classifier."""
    weight = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(seed))
    return Network(Linear(weight), "classifier")


def smooth(classes: int = 5, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Network:
    """A random smooth net with one hidden layer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = int(torch.tensor(shape).prod())
        last = nn.Linear(24, classes)
        last.weight.data.mul_(4)
        net = nn.Sequential(nn.Flatten(), nn.Linear(size, 24), nn.Tanh(), last)
    return Network(net, "classifier")


class Affine(Purifier):
    """P(x) = A x, deterministic, with an exact gradient; A [D,D] acts on the flat image."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).view_as(x)


class Noise(Purifier):
    """P(x) = x + sigma n: random, with an exact gradient; its direction leads to 1/2."""

    traits = Traits(random=True, direction=True, runs=3)

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x)

    def direction(self, x: Tensor) -> Tensor:
        return 0.5 - x


class Levels(Purifier):
    """Rounds to `levels` levels: deterministic, without a useful gradient."""

    traits = Traits(exact=False)

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.levels).round() / self.levels


class Luck(Purifier):
    """With probability `p` an image is lost: it becomes its negative about 1/2."""

    traits = Traits(random=True)

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        lost = (torch.rand(len(x), 1, 1, 1) < self.p).to(x)
        return lost * (1 - x) + (1 - lost) * x


def images(count: int = 8, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    """Images [count,C,H,W] well inside [0,1]."""
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return 0.2 + 0.6 * x


def labels(defense: Defense, x: Tensor) -> Tensor:
    """What the bare classifier says of x, [B]: labels that are right."""
    logits: Tensor = defense.classifier(x)
    return logits.argmax(1).detach()
