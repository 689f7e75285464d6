"""The lightweight energy network of Hill, Mitchell & Zhu 2021 (after IGEBM), in its own layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "leaky": lambda: nn.LeakyReLU(0.05),
    "silu": nn.SiLU,
}


def slope(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of `energy` at x, like x; differentiable itself where x requires a gradient."""
    keep = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        point = x if keep else x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(point).sum(), point, create_graph=keep)
    return gradient


class SoftLeakyReLU(nn.Module):
    """A leaky ReLU whose kink is rounded: its slope rises from `below` to 1 as a sigmoid."""

    def __init__(self, below: float, sharpness: float) -> None:
        """`sharpness`: of the sigmoid; the larger, the nearer to the kink."""
        super().__init__()
        self.below, self.sharpness = below, sharpness

    def forward(self, x: Tensor) -> Tensor:
        """Like x."""
        return self.below * x + (1 - self.below) * F.softplus(x, self.sharpness)


def softened(network: nn.Module, sharpness: float) -> nn.Module:
    """A copy whose leaky ReLUs have no kinks, so that it has second derivatives."""
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LeakyReLU):
                setattr(module, name, SoftLeakyReLU(child.negative_slope, sharpness))
    return copy


class EBM(nn.Module):
    """E(x): one number per image in [-1,1]; images are likely where it is low.

    Convolutions halve the image `stages` times down to 4x4. With the published `leaky` ReLU the
    energy is linear between kinks: its second derivative is 0 almost everywhere, so autograd
    through a Langevin step gives the identity whatever the step really does. `silu` has curvature.
    """

    def __init__(
        self, *, channels: int = 3, width: int = 32, stages: int = 3, activation: str = "leaky"
    ) -> None:
        """`width`: channels of the first convolution, doubled at each stage.

        Raises:
            ValueError: an unknown activation.
        """
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of: {', '.join(ACTIVATIONS)}")
        self.f = nn.Sequential(*_layers(channels, width, stages, activation))

    def forward(self, x: Tensor) -> Tensor:
        """Energies [B] of images [B,C,H,W] of side 4 * 2^stages."""
        energy: Tensor = self.f(x).flatten(1).sum(1)
        return energy


def _layers(channels: int, width: int, stages: int, activation: str) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, width, 3, padding=1)
    for stage in range(stages):
        yield ACTIVATIONS[activation]()
        yield nn.Conv2d(width << stage, width << (stage + 1), 4, stride=2, padding=1)
    yield ACTIVATIONS[activation]()
    yield nn.Conv2d(width << stages, 1, 4)
