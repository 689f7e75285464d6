"""What an attack follows: gradients of the loss in the input, as composable frozen dataclasses.

`(defense, x, y) -> Slope`. Networks are frozen, so only the input's gradient is ever asked for.
Meanings: docs/semantics.md, "Gradients".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from attacks.losses import LOSSES, LossName
from bench.defense import Defense, by_chunks, repeat


class Slope(NamedTuple):
    """What one look at the defense showed.

    gradient: like x. loss: [B]. moved: P(x) - x, like x, where the look purified.
    queries: deployed predictions asked per image.
    """

    gradient: Tensor
    loss: Tensor
    moved: Tensor | None = None
    queries: int = 0


class Gradient(Protocol):
    """Images x [B,C,H,W] in [0,1] and labels y [B] to the Slope of the loss there."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """The slope at x; randomness comes from the global generator."""
        ...


class Direction(Protocol):
    """A second direction to follow beside the gradient (ADP's joint attacks)."""

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """The direction at x, like x; `slope` is what the gradient saw there."""
        ...


@dataclass(frozen=True)
class Blind:
    """The bare classifier's gradient at x: an attacker who knows of no purifier."""

    loss: LossName = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """One classifier call with gradient."""
        return Slope(*classifier_slope(defense, x, y, self.loss))


@dataclass(frozen=True)
class Bpda:
    """Forward through P, backward as the identity at z = P(x) (Athalye et al. 2018)."""

    loss: LossName = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """One purification without a graph, one classifier call with gradient at z."""
        with torch.no_grad():
            z = defense.purify(x)
        return Slope(*classifier_slope(defense, z, y, self.loss), moved=z - x)


@dataclass(frozen=True)
class Exact:
    """Through all of P by autograd; zero where the purified image does not depend on x."""

    loss: LossName = "ce"
    surrogate: bool = False

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """dL/dz at the detached z first, chunk by chunk, then one product with dz/dx."""
        start = x.detach().requires_grad_()
        with torch.enable_grad():
            z = defense.surrogate(start) if self.surrogate else defense.purify(start)
        upstream, loss = classifier_slope(defense, z.detach(), y, self.loss)
        gradient = torch.zeros_like(x)
        if z.requires_grad:
            (found,) = torch.autograd.grad(z, start, upstream, allow_unused=True)
            gradient = gradient if found is None else found
        return Slope(gradient, loss, moved=z.detach() - x)


def surrogate(loss: LossName = "ce") -> Exact:
    """Forward and backward through the defense's differentiable stand-in."""
    return Exact(loss, surrogate=True)


@dataclass(frozen=True)
class Eot:
    """The mean slope over `draws` fresh runs, as one batch (Athalye et al. 2018).

    A deterministic defense is asked once: every draw would be the same.
    """

    gradient: Gradient
    draws: int

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """Every image repeated `draws` times, then averaged per image."""
        draws = draws_of(self.draws, defense.random)
        slope = self.gradient(defense, repeat(x, draws), repeat(y, draws))
        moved = None if slope.moved is None else _mean(slope.moved, draws)
        return Slope(
            _mean(slope.gradient, draws), _mean(slope.loss, draws), moved, draws * slope.queries
        )


@dataclass(frozen=True)
class Score:
    """Where the purifier says that the images should go: its `direction` at x."""

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """One call of the defense's direction."""
        with torch.no_grad():
            return defense.direction(x)


@dataclass(frozen=True)
class Displacement:
    """P(x) - x, the mean over `draws` runs unless the gradient has purified already."""

    draws: int = 1

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """The mean displacement, like x."""
        if slope.moved is not None:
            return slope.moved
        draws = draws_of(self.draws, defense.random)
        with torch.no_grad():
            return _mean(defense.purify(repeat(x, draws)), draws) - x


def draws_of(draws: int, random: bool) -> int:
    """How many draws say anything: one if the defense is deterministic."""
    return draws if random else 1


def classifier_slope(
    defense: Defense, z: Tensor, y: Tensor, loss: LossName
) -> tuple[Tensor, Tensor]:
    """Gradient like z and loss [B] of the bare classifier, one graph per network chunk."""

    def slope(rows: slice) -> tuple[Tensor, Tensor]:
        point = z[rows].detach().requires_grad_()
        with torch.enable_grad():
            values = LOSSES[loss](defense.classifier(point), y[rows])
            (gradient,) = torch.autograd.grad(values.sum(), point)
        return gradient, values.detach()

    gradients, losses = zip(*by_chunks(len(z), slope), strict=True)
    return torch.cat(gradients), torch.cat(losses)


def _mean(values: Tensor, draws: int) -> Tensor:
    return values.view(draws, -1, *values.shape[1:]).mean(0)
