"""Which point of a search an attacker hands over, and when there is nothing left to search for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.gradients import Slope, draws_of, mean_logits, voted
from attacks.select import Best, Selector
from bench.api.purifier import Defense

Keep = Literal["last", "best", "loss"]
"""The last point, the best of all on fresh draws, or that of the highest loss seen."""


class Keeper:
    """The last point. The loop tells it what it saw, where it came and when a restart ends.

    `x` is what is handed over; `protocol` a verdict of its own (True: still robust), bool [B].
    """

    looks_at_the_end = False
    """Whether a search of n steps looks at its last point too, n + 1 times in all."""
    protocol: Tensor | None = None

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @property
    def over(self) -> bool:
        """Whether going on can change nothing."""
        return False

    def saw(self, point: Tensor, slope: Slope) -> None:
        """What the gradient showed at `point`."""

    def came(self, point: Tensor) -> None:
        """A step led to `point`."""

    def end(self, point: Tensor) -> None:
        """A restart ended at `point`."""
        self.x = point


class Chosen(Keeper):
    """The point that fresh draws of the deployed prediction get right least often.

    Of every point, or of what each restart hands over.
    """

    def __init__(self, best: Best, every: bool) -> None:
        super().__init__(best.x)
        self.best, self.every = best, every
        self._everyone = torch.arange(len(best.x), device=best.x.device)

    def came(self, point: Tensor) -> None:
        """Weighs the point, where every one counts."""
        if self.every:
            self.best.offer(point, self._everyone)

    def end(self, point: Tensor) -> None:
        """Weighs the point, where one of each restart counts."""
        if not self.every:
            self.best.offer(point, self._everyone)


class Highest(Keeper):
    """The point of the highest loss that was seen in a restart; `then` gets it."""

    looks_at_the_end = True

    def __init__(self, x: Tensor, then: Keeper) -> None:
        super().__init__(x)
        self.then = then
        self._loss: Tensor | None = None

    def saw(self, point: Tensor, slope: Slope) -> None:
        """Keeps the point where its loss is higher."""
        if self._loss is None:
            self.x, self._loss = point.clone(), slope.loss.clone()
        higher = slope.loss > self._loss
        self.x[higher], self._loss[higher] = point[higher], slope.loss[higher]

    def end(self, point: Tensor) -> None:
        """Hands the highest point on, and forgets it."""
        self.then.end(self.x)
        self.x, self._loss = self.then.x, None


@dataclass(frozen=True)
class Verify:
    """Any wrong look breaks an image, if a second opinion agrees (Hill et al. 2021).

    draws: of a look, where the gradient's own draws do not show the defense's logits.
    confirm: purifications that verify; their mean logits decide, as those of a look do.
    """

    draws: int = 15
    confirm: int = 150

    def begin(self, defense: Defense, x: Tensor, y: Tensor) -> Keeper:
        """Looks at the images as they are first."""
        return _Verified(defense, x, y, self)


class _Verified(Keeper):
    """`protocol` can only fall; `x` is where it fell, or the last point."""

    looks_at_the_end = True

    def __init__(self, defense: Defense, x: Tensor, y: Tensor, how: Verify) -> None:
        super().__init__(x.clone())
        self.defense, self.y = defense, y
        self.draws = draws_of(how.draws, defense.random)
        self._selector = Selector(defense, how.confirm)
        self.defended = self.protocol = torch.ones_like(y, dtype=torch.bool)
        self._judge(x, self._look(x))

    @property
    def over(self) -> bool:
        return not self.defended.any()

    def saw(self, point: Tensor, slope: Slope) -> None:
        self.x[self.defended] = point[self.defended]
        self._judge(point, self._look(point) if slope.logits is None else slope.logits)

    def end(self, point: Tensor) -> None:
        """Every point has been seen."""

    @torch.no_grad()
    def _look(self, point: Tensor) -> Tensor:
        return mean_logits(self.defense, point, self.draws)

    def _judge(self, point: Tensor, logits: Tensor) -> None:
        wrong = self.defended & (voted(self.defense, logits) != self.y)
        for image in wrong.nonzero().flatten().tolist():
            verified = self._selector.mean_logits(point[image : image + 1])
            self.defended[image] = voted(self.defense, verified).item() == self.y[image]


def keeper(
    keep: Keep | Verify, defense: Defense, x: Tensor, y: Tensor, *, restarts: int, draws: int
) -> Keeper:
    """What `keep` means for a search around x [B,C,H,W]; `draws` fresh ones choose where asked.

    Several restarts are always chosen between on fresh draws.
    """
    if isinstance(keep, Verify):
        return keep.begin(defense, x, y)
    choose = keep == "best" or restarts > 1
    kept = Chosen(Best(defense, x, y, draws), keep == "best") if choose else Keeper(x)
    return Highest(x, kept) if keep == "loss" else kept
