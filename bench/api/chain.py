"""Many steps in a row, differentiable with memory that does not grow with what a step computes.

Whoever wants to see the images between the steps of any purifier looks `on_the_way`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bench.api.purifier import Network, by_chunks
from bench.api.watch import passed

Step = Callable[[Tensor, slice], Tensor]
"""(state [b,...], rows) -> next state [b,...].

`rows` says which rows of the whole batch the state holds: all of them on the way forward, a chunk
when gradients are computed. What a step needs per image (noise drawn beforehand, levels, labels) is
a tensor of the whole batch that it indexes with `rows`; it draws nothing itself.
"""


class _Chain(torch.autograd.Function):
    """Stores the states between steps and computes one step of one chunk again at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: tuple[Step, ...]) -> Tensor:
        states, rows = [x], slice(0, len(x))
        for step in steps:
            states.append(step(states[-1], rows))
        ctx.steps = steps
        ctx.save_for_backward(*(s.cpu() if Network.lean else s for s in states[:-1]))
        return states[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        states = ctx.saved_tensors

        def back(rows: slice) -> Tensor:
            g = gradient[rows]
            for state, step in zip(states[::-1], ctx.steps[::-1], strict=True):
                with torch.enable_grad():
                    before = state[rows].to(gradient.device).detach().requires_grad_()
                    after = step(before, rows)
                (g,) = torch.autograd.grad(after, before, g)
            return g

        return torch.cat(by_chunks(len(gradient), back)), None


def chain(
    steps: Iterable[Step], x: Tensor, image: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """`x` [B,...] after all `steps`; its gradient in x is that of the same steps under autograd.

    Only states are stored: one tensor like x per step (on the host, where memory is short), and the
    activations of one step of `Network.chunk` images at a time. Without a gradient not even those:
    `steps` may be a generator that draws each step's noise as it goes, and the draws are the same
    in both cases.

    A step must give every image the same result alone as in its batch, and the same when it is
    repeated. image: how a state looks (`passed`). Gradients reach x alone, not tensors that a step
    closed over; what later steps need of the input therefore travels in the state (as further
    channels). A step may use `torch.autograd.grad` itself, with
    `create_graph=torch.is_grad_enabled()`.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        fixed = tuple(steps)
        end: Tensor = _Chain.apply(x, fixed) if fixed else x
        return end
    rows = slice(0, len(x))
    with torch.no_grad():
        for step in steps:
            x = step(x, rows)
            passed(x, image)
    return x
