"""Random noise in the ball: the control that every attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.family import Count
from bench.api import attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense


@dataclass(frozen=True)
class Noise:
    """`draws` uniform points of the ball, each of them scored: nothing is chosen, nobody asked."""

    draws: int = 4

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points [V,B,C,H,W] in the ball around x [B,C,H,W], one variant for each draw."""
        points = torch.stack([threat.random_start(x) for _ in range(self.draws)])
        return Attacked(points, variants=tuple(f"draw {n + 1}" for n in range(self.draws)))


@attack("noise", variants=lambda settings: int(settings["draws"]), knows="little", noise=True)
def noise(*, draws: Count = 4) -> Noise:
    """Uniform noise in the ball, no attack: the mean over several draws."""
    return Noise(draws)
