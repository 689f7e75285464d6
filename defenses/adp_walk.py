"""The walk of ADP along a score network, its step rules and its exact gradient.

`defenses/adp.py` says what the rules are and where they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.purifier import by_chunks
from bench.api.watch import passed

Score = Callable[[Tensor], Tensor]


class Rotation(nn.ModuleList):
    """Score networks in turn, one per step; asked without a step, the first."""

    def turn(self, step: int) -> Score:
        """The network of a step, counted from 0."""
        return self[step % len(self)]

    def forward(self, x: Tensor) -> Tensor:
        """The score of the first network, like x."""
        s: Tensor = self[0](x)
        return s


def _turn(score: Score, step: int) -> Score:
    return score.turn(step) if isinstance(score, Rotation) else score


@dataclass(frozen=True)
class StepRule:
    """How x_0 moves to x_T: everything of the algorithm except its noise.

    inverse_grid: the authors' code undoes, after every step, a map x * 255/256 + 1/512 that it
    applied only once. It does so for stopped images too, until the whole batch has stopped.
    decay: the last fixed step as a share of the first. heat: sigma of Langevin's noise.
    """

    steps: int = 10
    adaptive: bool = True
    alpha: float = 0.02
    lam: float = 0.05
    delta: float = 1e-3
    alpha_min: float = 1e-5
    alpha_max: float = 0.1
    negative: str = "max"
    stop: str = "alpha"
    tau: float = 1e-3
    clip: bool = True
    inverse_grid: bool = False
    decay: float = 1.0
    heat: float = 0.0

    def step_size(self, score: Score, x: Tensor, s: Tensor, step: int = 0) -> Tensor:
        """alpha [B,1,1,1] at `x` with score `s` (Eq. 18), bounded; one more call of the network."""
        if not self.adaptive:
            alpha = self.alpha * self.decay ** (step / max(self.steps - 1, 1))
            return torch.full((len(x), 1, 1, 1), alpha, dtype=x.dtype, device=x.device)
        ahead = score(x + self.delta * s)
        # 1 - <s,s'>/<s,s> as <s,s-s'>/<s,s>: the same number with fewer digits lost.
        bend = dot(s, s - ahead) / dot(s, s).clamp_min(torch.finfo(x.dtype).tiny)
        size = self.lam * self.delta / bend
        if self.negative == "paper":
            return size.clamp(-self.alpha_max, self.alpha_max)
        if self.negative == "max":
            size = size.masked_fill(bend < 0, self.alpha_max)
        return size.clamp(self.alpha_min, self.alpha_max)

    def goes_on(self, alpha: Tensor, s: Tensor, step: int) -> Tensor:
        """Which images [B,1,1,1] have not reached the stopping rule before this step."""
        if self.stop == "alpha" and self.decay == 1:
            return alpha > self.tau
        if self.stop == "norm" and step:
            return dot(s, s) >= self.tau**2
        return torch.ones_like(alpha, dtype=torch.bool)

    def update(self, x: Tensor, s: Tensor, alpha: Tensor, noise: Tensor | None = None) -> Tensor:
        """One step from `x`, differentiable; `noise` is standard normal, like x."""
        x = x + alpha * s
        if noise is not None:
            x = x + (2 * self.heat * alpha).sqrt() * noise
        if self.inverse_grid:
            x = x * (256 / 255) - 1 / 510
        return x.clamp(0, 1) if self.clip else x


Trail = list[tuple[Tensor, Tensor]]
"""(x_t before the step, alpha [B,1,1,1]) of every step that was taken."""


def walk(
    score: Score,
    x: Tensor,
    rule: StepRule,
    trail: Trail,
    held: list[Tensor],
    *,
    noise: Tensor | None = None,
) -> Tensor:
    """x_0 to x_T without a graph, appending to `trail`; step sizes already in `held` are reused.

    A stopped image has alpha 0. The loop ends when every image has stopped. noise [T,B,C,H,W] is
    what the steps add, standard normal.
    """
    active = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    for step in range(rule.steps):
        here = _turn(score, step)
        s = here(x)
        if step == len(held):
            alpha = rule.step_size(here, x, s, step)
            active = active & rule.goes_on(alpha, s, step)
            held.append(alpha * active)
        if not held[step].any():
            break
        trail.append((x, held[step]))
        x = rule.update(x, s, held[step], None if noise is None else noise[step])
        passed(x)
    return x


class _Purify(torch.autograd.Function):
    """The chain with its gradient by a reverse walk: one network call recomputed per step.

    Only images and step sizes are stored, so memory does not grow with activations times steps.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd passes by position)
        ctx: Any, x: Tensor, score: Score, rule: StepRule, held: list[Tensor], noise: Tensor | None
    ) -> Tensor:
        trail: Trail = []
        end = walk(score, x, rule, trail, held, noise=noise)
        ctx.score, ctx.rule, ctx.noise = score, rule, noise
        ctx.save_for_backward(*(tensor for pair in trail for tensor in pair))
        return end.clone() if not trail else end

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        saved, noise = ctx.saved_tensors, ctx.noise

        def back(rows: slice) -> Tensor:
            g = gradient[rows]
            for step in reversed(range(len(saved) // 2)):
                x, alpha = saved[2 * step], saved[2 * step + 1]
                kick = None if noise is None else noise[step, rows]
                with torch.enable_grad():
                    x_t = x[rows].detach().requires_grad_()
                    s = _turn(ctx.score, step)(x_t)
                    moved = ctx.rule.update(x_t, s, alpha[rows], kick)
                (g,) = torch.autograd.grad(moved, x_t, g)
            return g

        return torch.cat(by_chunks(len(gradient), back)), None, None, None, None


def purify(
    score: Score,
    x: Tensor,
    rule: StepRule,
    held: list[Tensor] | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """x_0 [B,C,H,W] to x_T; differentiable in x_0 with step sizes and stops as constants.

    `held` receives the step sizes [B,1,1,1] of every step; if it has them already, they are used.
    noise [T,B,C,H,W]: what Langevin steps add, standard normal.
    """
    held = [] if held is None else held
    if torch.is_grad_enabled() and x.requires_grad:
        end: Tensor = _Purify.apply(x, score, rule, held, noise)
        return end
    with torch.no_grad():
        trail: Trail = []
        return walk(score, x, rule, trail, held, noise=noise)


def grid(x: Tensor) -> Tensor:
    """The map of the authors' code into its dequantised space."""
    return x * (255 / 256) + 1 / 512


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of images, [B,1,1,1]."""
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)
