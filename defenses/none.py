"""The static base: no purification at all."""

from __future__ import annotations

from torch import Tensor

from bench.api import Context, defense
from bench.api.purifier import Purifier, Traits


class Nothing(Purifier):
    """Leaves images as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself, [B,C,H,W] in [0,1]."""
        return x


@defense("none", traits=lambda settings: Traits(identity=True))
def none(context: Context) -> Nothing:
    """The bare classifier, against which every purifier is measured."""
    return Nothing()
