"""Hedge Defense (Wu et al. 2021): sign steps up the sum of the cross-entropies of all classes.

From a uniform point of its own ball the image climbs away from the uniform answer, to where the
classifier behind is surest. Nothing is trained. Croce et al. 2022 found that it adds nothing once
the attack knows of it: here it is a row whose verdict is known, by which attacks are tested.

Settings are those of the authors' code. There the logits on the way are summed too, to detect; the
paper's defense, and this one, classifies the last point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Context, defense
from bench.api.purifier import Purifier, Traits
from bench.api.watch import passed
from bench.spec import Range
from defenses.soap import slope

INSIDE = "inside"
"""The name of the classifier behind, as it is asked on the way."""


def surest(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The mean cross-entropy over all classes as the label, [B]."""
    return lambda x: -network(x).log_softmax(1).mean(1)


class Hedge(Purifier):
    """Random start, then `steps` sign steps within `eps` of the image and [0,1]."""

    def __init__(
        self, network: Callable[[Tensor], Tensor], eps: float, step: float, steps: int
    ) -> None:
        """network: images to logits, as the classifier behind."""
        super().__init__()
        self.network, self.loss = network, surest(network)
        self.eps, self.step, self.steps = eps, step, steps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One purification, [B,C,H,W] in [0,1] to the same."""
        z = x + self.eps * (2 * torch.rand_like(x) - 1)
        for _ in range(self.steps):
            moved = z + self.step * slope(self.loss, z).sign() - x
            z = (x + moved.clamp(-self.eps, self.eps)).clamp(0, 1)
            passed(z)
        return z.clamp(0, 1)


@defense(
    "hedge",
    source="Wu et al. 2021, Attacking Adversarial Attacks as A Defense, code",
    paper="Wu et al. 2021",
    link="https://arxiv.org/abs/2106.04938",
    traits=lambda settings: Traits(random=float(settings["eps"]) > 0, exact=False),
    calls=lambda settings: {INSIDE: (int(settings["steps"]), int(settings["steps"]))},
)
def hedge(
    context: Context,
    *,
    eps: Annotated[float, Range(0, 1)] = 0.031,
    step: Annotated[float, Range(0, 1)] = 0.007,
    steps: Annotated[int, Range(1, 1000)] = 20,
) -> Hedge:
    """Sign steps to where the classifier behind is surest; known to add nothing."""
    network = context.network(context.behind.module(), INSIDE)
    return Hedge(network, eps, step, steps)
