"""The inner optimisation of ScoreOpt (Zhang et al. 2023) as steps of a chain, with its gradient.

Images are in [-1,1] here and noise levels t in the same units. The state of a chain holds, beside
the point that moves, Adam's two moments and what later steps need of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.api.chain import Step
from bench.api.purifier import Network, by_chunks

Loss = Literal["diff", "mse", "sr"]
BETA_1, BETA_2, ADAM_EPS = 0.9, 0.999, 1e-8
"""Adam's defaults (Kingma & Ba 2015)."""
TINY = 1e-30
"""Far below eps squared; the root has a derivative there."""


@dataclass(frozen=True)
class Draw:
    """What one step is given: t [B,1,1,1], noise like the images, and more for the term of SR."""

    t: Tensor
    noise: Tensor
    other: Tensor | None = None

    def rows(self, rows: slice) -> Draw:
        """The draws of some images."""
        other = None if self.other is None else self.other[rows]
        return Draw(self.t[rows], self.noise[rows], other)


class Moving(NamedTuple):
    """Parts of a chain's state, each like the images; in a chain they are its channels.

    point: what moves, x or x_t. first, second: Adam's moments. start: x_a, the input. anchor: x_i
    of Algorithm 2's outer loop.
    """

    point: Tensor
    first: Tensor
    second: Tensor
    start: Tensor
    anchor: Tensor

    @classmethod
    def of(cls, joined: Tensor) -> Moving:
        """The parts of a chain's state."""
        return cls(*joined.chunk(len(cls._fields), 1))

    def join(self) -> Tensor:
        """[B,5C,H,W]."""
        return torch.cat(tuple(self), 1)


class Signs:
    """Directions of first steps, which the gradient holds: those of the first run, where asked.

    Adam's first step is lr g/(|g| + eps), as good as lr sign(g): its derivative is 0 but where a
    pixel of g is nearly 0, and there it is a jump. Later steps are smooth and are not held.
    """

    def __init__(self, keep: bool = False) -> None:
        """`keep`: every run gets the directions of the first one."""
        self.kept: dict[int, Tensor] | None = {} if keep else None

    def __call__(self, index: int, rows: slice, fresh: Tensor) -> Tensor:
        """`fresh`, or what the first run had in Adam run `index`."""
        if self.kept is None:
            return fresh.detach()
        return self.kept.setdefault(index, fresh.detach())[rows]


@dataclass(frozen=True)
class AdamRule:
    """How a point moves.

    lam: weight of the MSE term. adam_eps: added to the root of Adam's second moment, where the loss
    is the squared norm of one image as printed; a mean over B images of D numbers is the same with
    B D times as much. noise_error: the authors' loss of N.
    """

    loss: Loss = "diff"
    lam: float = 1.0
    lr: float = 0.1
    adam_eps: float = ADAM_EPS
    noise_error: bool = False


Objective = Callable[[Tensor, Moving, Draw], Tensor]
"""(the moving point, the state around it, draws) -> one number, the sum over images."""


def objective_o(denoiser: Network, rule: AdamRule) -> Objective:
    """Eq. 6, 7 or 8 at x (Algorithm 1)."""

    def value(x: Tensor, state: Moving, draw: Draw) -> Tensor:
        denoised: Tensor = denoiser(x + draw.t * draw.noise, draw.t)
        total = (denoised - x).square().sum()
        return total + _regulariser(denoiser, rule, x, denoised, state=state, draw=draw)

    return value


def objective_n(denoiser: Network, rule: AdamRule) -> Objective:
    """The same at x_t, around x_i (Algorithm 2); the authors' code asks for the noise instead."""

    def value(x_t: Tensor, state: Moving, draw: Draw) -> Tensor:
        denoised: Tensor = denoiser(x_t, draw.t)
        if rule.noise_error:
            return ((x_t - denoised) / draw.t - draw.noise).square().sum()
        total = (denoised - state.anchor).square().sum()
        x = x_t - draw.t * draw.noise
        return total + _regulariser(denoiser, rule, x, denoised, state=state, draw=draw)

    return value


def _regulariser(
    denoiser: Network, rule: AdamRule, x: Tensor, denoised: Tensor, *, state: Moving, draw: Draw
) -> Tensor:
    if rule.loss == "mse":
        return rule.lam * (x - state.start).square().sum()
    if rule.loss == "sr":
        assert draw.other is not None
        other: Tensor = denoiser(state.start + draw.t * draw.other, draw.t)
        return (denoised - other).square().sum()
    return x.new_zeros(())


def _slope(objective: Objective, state: Moving, draw: Draw) -> Tensor:
    """The gradient of the objective, chunk by chunk; differentiable itself in a backward pass."""
    keep = torch.is_grad_enabled() and state.point.requires_grad

    def slope(rows: slice) -> Tensor:
        around = Moving(*(each[rows] for each in state))
        with torch.enable_grad():
            point = around.point if keep else around.point.detach().requires_grad_()
            value = objective(point, around, draw.rows(rows))
            (found,) = torch.autograd.grad(value, point, create_graph=keep)
        return found

    return torch.cat(by_chunks(len(state.point), slope, graph=keep))


def adam(
    objective: Objective, rule: AdamRule, draw: Draw, signs: Signs, *, count: int, index: int = 0
) -> Step:
    """Step `count` (from 1) of Adam run `index`; `draw` is of the whole batch."""

    def step(joined: Tensor, rows: slice) -> Tensor:
        state = Moving.of(joined)
        slope = _slope(objective, state, draw.rows(rows))
        first = BETA_1 * state.first + (1 - BETA_1) * slope
        second = BETA_2 * state.second + (1 - BETA_2) * slope.square()
        root = (second / (1 - BETA_2**count)).clamp_min(TINY).sqrt()
        direction = first / (1 - BETA_1**count) / (root + rule.adam_eps)
        if count == 1:
            direction = signs(index, rows, direction)
        point = state.point - rule.lr * direction
        return Moving(point, first, second, state.start, state.anchor).join()

    return step


def begin(x: Tensor, rows: slice) -> Tensor:
    """The input [B,C,H,W] as the state of a chain."""
    del rows
    nothing = torch.zeros_like(x)
    return Moving(x, nothing, nothing, x, x).join()


def end(joined: Tensor, rows: slice) -> Tensor:
    """The moving point of a state, like the images."""
    del rows
    return Moving.of(joined).point


def walk_o(
    denoiser: Network, rule: AdamRule, draws: Iterable[Draw], signs: Signs | None = None
) -> Iterator[Step]:
    """Algorithm 1: one step for each of `draws`."""
    objective, signs = objective_o(denoiser, rule), signs or Signs()
    yield begin
    for count, draw in enumerate(draws, 1):
        yield adam(objective, rule, draw, signs, count=count)
    yield end


def walk_n(
    denoiser: Network,
    rule: AdamRule,
    rounds: Iterable[tuple[Draw, Iterable[Tensor | None]]],
    signs: Signs | None = None,
) -> Iterator[Step]:
    """Algorithm 2: per round its t and noise, and for each of its steps SR's noise or None."""
    objective, signs = objective_n(denoiser, rule), signs or Signs()
    yield begin
    for index, (draw, others) in enumerate(rounds):
        yield _noised(draw)
        for count, other in enumerate(others, 1):
            yield adam(objective, rule, replace(draw, other=other), signs, count=count, index=index)
        yield _denoised(denoiser, draw)
    yield end


def _noised(draw: Draw) -> Step:
    """x_i to x_(0,t), with a fresh optimiser; x_i becomes the anchor."""

    def step(joined: Tensor, rows: slice) -> Tensor:
        state = Moving.of(joined)
        point = state.point + draw.t[rows] * draw.noise[rows]
        nothing = torch.zeros_like(point)
        return Moving(point, nothing, nothing, state.start, state.point).join()

    return step


def _denoised(denoiser: Network, draw: Draw) -> Step:
    """x_(N,t) to x_(i+1)."""

    def step(joined: Tensor, rows: slice) -> Tensor:
        state = Moving.of(joined)
        return state._replace(point=denoiser(state.point, draw.t[rows])).join()

    return step
