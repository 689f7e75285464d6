"""The anti-adversary layer (Alfarra et al. 2022): sign steps to what the classifier says anyway.

`steps` steps of `alpha` lower the cross-entropy at the class that the classifier behind gives the
image as it is. Nothing is trained. Croce et al. 2022 found that it adds nothing against an attack
on the classifier behind: here it is a row whose verdict is known, by which attacks are tested.

The authors step on normalised images where their network normalises, and clip nowhere; here `alpha`
is in pixels, and the result is an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api import Context, defense
from bench.api.purifier import Purifier, Traits, by_chunks
from bench.api.watch import passed
from bench.spec import Range, Settings
from defenses.hedge import INSIDE

# Patches and digits: chosen on validation images (leaderboards/choices-<data set>.txt), behind
# `madry`. Elsewhere the authors'.
SETTINGS: Mapping[str, Settings] = {"patches": {"alpha": 0.03}, "digits": {"alpha": 0.15}}


class AntiAdversary(Purifier):
    """Steps down the cross-entropy at the class that is given."""

    traits = Traits(exact=False)

    def __init__(self, network: Callable[[Tensor], Tensor], alpha: float, steps: int) -> None:
        """network: images to logits, as the classifier behind."""
        super().__init__()
        self.network, self.alpha, self.steps = network, alpha, steps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One purification, deterministic, [B,C,H,W] in [0,1] to the same."""
        label, moved = self.network(x).argmax(1), torch.zeros_like(x)
        for _ in range(self.steps):
            moved = moved - self.alpha * self._slope(x + moved, label).sign()
            passed((x + moved).clamp(0, 1))
        return (x + moved).clamp(0, 1)

    @torch.enable_grad()
    def _slope(self, z: Tensor, label: Tensor) -> Tensor:
        """Of the cross-entropy at each image's label, chunk by chunk, like z."""

        def of(rows: slice) -> Tensor:
            point = z[rows].detach().requires_grad_()
            loss = F.cross_entropy(self.network(point), label[rows], reduction="sum")
            (g,) = torch.autograd.grad(loss, point)
            return g

        return torch.cat(by_chunks(len(z), of))


@defense(
    "anti-adversary",
    source="Alfarra et al. 2022, Combating Adversaries with Anti-Adversaries, code",
    paper="Alfarra et al. 2022",
    link="https://arxiv.org/abs/2103.14347",
    settings=SETTINGS,
    traits=lambda settings: Traits(exact=False),
    calls=lambda settings: {INSIDE: (1 + int(settings["steps"]), int(settings["steps"]))},
)
def anti_adversary(
    context: Context,
    *,
    alpha: Annotated[float, Range(0, 1)] = 0.15,
    steps: Annotated[int, Range(1, 1000)] = 2,
) -> AntiAdversary:
    """Sign steps towards the class that the classifier behind says anyway; known to add nothing."""
    return AntiAdversary(context.network(context.behind.module(), INSIDE), alpha, steps)
