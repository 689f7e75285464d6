"""Which wrong class each restart of a targeted search aims at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from attacks.gradients import Gradient, draws_of, mean_logits
from attacks.losses import Climbed
from bench.api.purifier import Defense
from bench.errors import BenchError

Aim = Literal["likeliest", "malt"]
"""The order of the wrong classes: by their logits, or by how near their boundaries look."""
CANDIDATES = 100
"""Of how many of the likeliest wrong classes MALT asks for a gradient."""
TINY = 1e-12


class Targets(Protocol):
    """Orders the wrong classes of images."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Tensor:
        """For images x [B,C,H,W] with labels y [B]: the right class and a wrong one, [T,B,2].

        The most promising wrong class of each image comes first.
        """
        ...


@dataclass(frozen=True)
class Likeliest:
    """By the mean logits of `draws` runs, the highest first, as AutoAttack's APGD-T does."""

    draws: int = 4

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Tensor:
        """Every wrong class, [K-1,B,2]."""
        logits = mean_logits(defense, x, draws_of(self.draws, defense.random))
        others = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)[:, :-1]
        return torch.stack([y.expand_as(others.T), others.T], 2)


@dataclass(frozen=True)
class Nearest:
    """MALT (Melamed et al. 2024): by the gap of logits over the length of the gap's gradient.

    Where the defense is nearly linear this is minus the distance to the class. gradient: of the
    loss `gap`. Only the CANDIDATES likeliest wrong classes are compared.
    """

    gradient: Gradient
    draws: int = 4

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Tensor:
        """The candidates, [T,B,2]."""
        goals = Likeliest(self.draws)(defense, x, y)[:CANDIDATES]
        slopes = (self.gradient(defense, x, goal) for goal in goals)
        scores = torch.stack(
            [each.loss / each.gradient.flatten(1).norm(dim=1).clamp_min(TINY) for each in slopes]
        )
        order = scores.argsort(dim=0, descending=True)
        return goals.gather(0, order[..., None].expand_as(goals))


def check(aim: str, losses: Collection[str]) -> None:
    """Raise BenchError where an order of targets was typed and no loss has any."""
    if aim != "likeliest" and "dlr-t" not in losses:
        raise BenchError(f"aim={aim} orders the targets of dlr-t, which is none of the losses here")


def aimed(loss: Climbed, aim: Aim = "likeliest", gap: Gradient | None = None) -> Targets | None:
    """The targets of a search that climbs `loss`; none where the loss has none.

    gap: for MALT, a gradient of the loss `gap`.
    """
    if loss != "dlr-t":
        return None
    return Nearest(gap) if aim == "malt" and gap is not None else Likeliest()
