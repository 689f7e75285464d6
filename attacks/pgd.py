"""The only gradient loop: projected gradient ascent with replaceable parts (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.gradients import Direction, Gradient
from attacks.select import Best
from bench.attack import Attacked, Trace
from bench.defense import Defense
from bench.threat import ThreatModel

Keep = Literal["last", "best"]


@dataclass(frozen=True)
class PGD:
    """`steps` steps of `step` * eps along the steepest direction of `gradient`.

    direction, weight: move along (1 - weight) * steepest(gradient) + weight * steepest(direction)
    (Yoon et al. 2021, Table 1). keep: the last iterate, or the best of all iterates on `select`
    draws; with restarts the best is always chosen there. The trace is the first restart's.
    """

    gradient: Gradient
    steps: int = 40
    step: float = 0.25
    random_start: bool = False
    restarts: int = 1
    keep: Keep = "last"
    direction: Direction | None = None
    weight: float = 0.5
    select: int = 4

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images in the ball around x [B,C,H,W] in [0,1] that climb the loss at labels y [B]."""
        choose = self.keep == "best" or self.restarts > 1
        best = Best(defense, x, y, self.select) if choose else None
        everyone = torch.arange(len(x), device=x.device)
        queries, losses, norms = 0, [], []
        point = x
        for restart in range(self.restarts):
            point = threat.random_start(x) if self.random_start else x.clone()
            for step in range(self.steps):
                slope = self.gradient(defense, point, y)
                move = threat.steepest(slope.gradient)
                if self.direction is not None:
                    pull = threat.steepest(self.direction(defense, point, slope))
                    move = (1 - self.weight) * move + self.weight * pull
                point = threat.project(point + self.step * threat.eps * move, x)
                queries += slope.queries
                if restart == 0:
                    losses.append(slope.loss)
                    norms.append(slope.gradient.flatten(1).norm(dim=1))
                if best and (self.keep == "best" or step == self.steps - 1):
                    best.offer(point, everyone)
        return Attacked(
            best.x if best else point,
            trace=Trace(torch.stack(losses), torch.stack(norms)),
            queries=torch.full_like(y, queries) if queries else None,
        )
