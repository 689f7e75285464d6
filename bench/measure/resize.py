"""Purifiers whose network takes images of one size only, on images of another.

Guided diffusion was trained at 256x256 and classifiers of ImageNet see 224x224. Purification then
happens at the network's size, noise included, between two bilinear resizes, as in DiffPure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.nn import functional as F

from bench.api.purifier import Purifier


def resized(x: Tensor, side: int) -> Tensor:
    """[B,C,H,W] at HxW = side x side, bilinear between pixel centres."""
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


class Resized(Purifier):
    """A purifier that works at `side`, on square images of any size."""

    def __init__(self, purifier: Purifier, side: int) -> None:
        """With the traits of `purifier`."""
        super().__init__()
        self.purifier, self.side = purifier, side
        self.traits = purifier.traits

    def forward(self, x: Tensor) -> Tensor:
        """One run at the other size, back at that of `x`."""
        return resized(self.purifier(resized(x, self.side)), x.shape[-1]).clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        """The purifier's stand-in, in the same way."""
        out = self.purifier.surrogate(resized(x, self.side))
        return resized(out, x.shape[-1]).clamp(0, 1)

    def one_step(self, x: Tensor) -> Tensor:
        """The purifier's first step, in the same way."""
        out = self.purifier.one_step(resized(x, self.side))
        return resized(out, x.shape[-1]).clamp(0, 1)

    def direction(self, x: Tensor) -> Tensor:
        """The purifier's direction at the other size, brought to that of `x`."""
        return resized(self.purifier.direction(resized(x, self.side)), x.shape[-1])

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The purifier's own, where it holds quantities for finite differences."""
        held = getattr(self.purifier, "hold", None)
        if held is None:
            yield
        else:
            with held():
                yield


def fitted(purifier: Purifier, side: int) -> Purifier:
    """`purifier` for images of that side: as it is, unless a network in it takes another only.

    Such a network says so by an attribute `side`.
    """
    sides = (getattr(module, "side", None) for module in purifier.modules())
    only = {found for found in sides if isinstance(found, int) and found != side}
    return Resized(purifier, only.pop()) if len(only) == 1 else purifier
