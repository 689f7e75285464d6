"""Normalisation as a layer, so that everything outside a classifier speaks [0,1] images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn


class HasFeatures(Protocol):
    """A network that hands out its intermediate maps by name."""

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """[B,C,H,W] -> maps [B,C_i,H_i,W_i]."""
        ...


def has_features(network: object) -> TypeGuard[HasFeatures]:
    """Whether it is one. A submodule of that name counts, which isinstance would not see."""
    return callable(getattr(network, "features", None))


class Normalised(nn.Module):
    """`network` on (x - mean) / std per channel; [B,C,H,W] in [0,1] -> what the network gives."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std`: one number per channel, in [0,1] units."""
        super().__init__()
        self.network = network
        shape = (1, len(mean), 1, 1)
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).reshape(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The network's answer for images in [0,1]."""
        answer: Tensor = self.network((x - self.mean) / self.std)
        return answer

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The network's named intermediate maps for images in [0,1], where it has any."""
        assert has_features(self.network)
        return self.network.features((x - self.mean) / self.std)
