"""The two purifiers of NRP (Naseer et al. 2020) in their published layouts; images are in [0,1].

Neither has normalisation layers, and neither clips what it gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _NRPDenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and all that was before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(width + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(width + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(width + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(convolution(seen), 0.2)], 1)
        out: Tensor = x + 0.2 * self.conv5(seen)
        return out


class _NRPDenseTriple(nn.Module):
    """Three of them, a fifth of which is added to what went in."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = _NRPDenseBlock(width, growth)
        self.RDB2 = _NRPDenseBlock(width, growth)
        self.RDB3 = _NRPDenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + 0.2 * self.RDB3(self.RDB2(self.RDB1(x)))
        return out


class NRPDense(nn.Module):
    """Residual-in-residual dense blocks without any skip around them; 16.6 million numbers."""

    def __init__(
        self, channels: int = 3, width: int = 64, blocks: int = 23, growth: int = 32
    ) -> None:
        """`growth`: channels that each convolution of a block adds."""
        super().__init__()
        self.conv_first = nn.Conv2d(channels, width, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(_NRPDenseTriple(width, growth) for _ in range(blocks)))
        self.trunk_conv = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] of any size to the same."""
        image: Tensor = self.trunk_conv(self.RRDB_trunk(self.conv_first(x)))
        return image


class _NRPBlock(nn.Module):
    """x + conv(ReLU(conv x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        for convolution in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(convolution.weight)
            convolution.weight.data.mul_(0.1)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return out


class NRPResidual(nn.Module):
    """Plain residual blocks: the small one, which its authors call resG."""

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 23) -> None:
        """`width` channels in all `blocks`."""
        super().__init__()
        self.conv_first = nn.Conv2d(channels, width, 3, padding=1)
        self.recon_trunk = nn.Sequential(*(_NRPBlock(width) for _ in range(blocks)))
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] of any size to the same."""
        first = F.leaky_relu(self.conv_first(x), 0.1)
        image: Tensor = self.conv_last(self.recon_trunk(first))
        return image
