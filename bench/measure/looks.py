"""What an attack saw of gradients, watched at a defense's doors: libraries hand over no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack

from bench.api.purifier import Defense


class Door:
    """The gradients that came out of one purifier or of the classifier towards images x [B,C,H,W].

    counts, [3,B]: gradients of each image, those of them that were exactly zero, and those that
    were not a number. Each row of a call counts, so that no chunk moves a share.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.detach().flatten(1)
        self.counts = torch.zeros(3, len(x), device=x.device)

    def enter(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Watch what comes back to the input of a call, where the caller follows a gradient."""
        point = given[0] if given else None
        if point is None or not (torch.is_grad_enabled() and point.requires_grad):
            return None
        if peek_interpreter_stack():
            return None  # torch.func takes no function like ours
        watched: Tensor = _Watch.apply(point, self, self._images(point))
        return watched, *given[1:]

    def came(self, gradient: Tensor, image: Tensor) -> None:
        """Count the gradient of rows that belong to `image` (int, one for each row)."""
        size = gradient.detach().flatten(1).abs().amax(1)
        rows = image == torch.arange(len(self.x), device=image.device)[:, None]
        found = (rows, rows & (size == 0), rows & size.isnan())
        self.counts += torch.stack([each.sum(1) for each in found])

    def _images(self, point: Tensor) -> Tensor:
        """The image nearest to each row, int: libraries ask about some images, or many times."""
        return torch.cdist(point.detach().flatten(1).to(self.x), self.x).argmin(1)


class _Watch(torch.autograd.Function):
    """The same numbers; on the way back the door sees the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, door: Door, image: Tensor) -> Tensor:
        ctx.door, ctx.image = door, image
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.door.came(gradient, ctx.image)
        return gradient, None, None


@contextmanager
def watched(defense: Defense, x: Tensor) -> Iterator[Sequence[Door]]:
    """The doors of a defense, watched inside the block for gradients towards images x [B,C,H,W]."""
    doors = []
    with ExitStack() as handles:
        for module in dict.fromkeys((defense.classifier, *defense.purifiers)):
            doors.append(Door(x))
            handles.enter_context(module.register_forward_pre_hook(doors[-1].enter))
        yield doors


def hidden(doors: Sequence[Door]) -> tuple[Tensor, Tensor]:
    """The shares of gradients that were exactly zero, and not a number, [B] each; 0 without any.

    Of several doors the largest: a purifier may hide what the classifier behind it still shows.
    """
    every, zero, lost = torch.stack([door.counts for door in doors]).unbind(1)
    return (zero / every.clamp_min(1)).amax(0), (lost / every.clamp_min(1)).amax(0)
