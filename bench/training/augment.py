"""Augmented images F(x) around which score networks are trained (Yoon et al. 2021, supplement C).

Everything works on a batch [B,C,H,W] in [0,1], each image with draws of its own; the loss of a
score network around them is at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.compute.cosine import basis
from bench.models.nets.ncsnv2 import ladder
from bench.training.fit import Loss

Augment = Callable[[Tensor], Tensor]
Operation = Callable[[Tensor, Tensor], Tensor]
"""(images, strength [B,1,1,1] in [-1,1]) -> images."""

DROPPED = 0.05
"""Share of the sum of absolute DCT coefficients that is dropped (supplement C)."""
# AugMix (Hendrycks et al. 2020): chains, longest chain, and strength in tenths of each operation's
# largest; Dirichlet and Beta weights have parameter 1.
CHAINS, DEPTH, SEVERITY = 3, 3, 0.3
ROTATE = math.radians(30)
SHEAR = 0.3
TRANSLATE = 1 / 3
"""As a share of the side."""
POSTERIZE = 4
"""Bits."""


def dct(x: Tensor, share: float = DROPPED) -> Tensor:
    """Without the smallest DCT coefficients, which make up `share` of their absolute sum.

    Per image, over all its channels together; not clipped to [0,1].
    """
    down, across = basis(x.shape[2]).to(x), basis(x.shape[3]).to(x)
    coefficients = down @ x @ across.T
    size, order = coefficients.abs().flatten(1).sort(1)
    dropped = size.cumsum(1) <= share * size.sum(1, keepdim=True)
    keep = torch.ones_like(size).scatter(1, order, (~dropped).to(x)).view_as(x)
    return down.T @ (coefficients * keep) @ across


def augmix(x: Tensor) -> Tensor:
    """AugMix (Hendrycks et al. 2020, Alg. 1): a mixture of chains of operations and the image.

    Its operations exclude all that CIFAR-10-C contains. On 16x16 images, unlike the published
    code: what an operation moves in from outside is mirrored instead of black, strengths are not
    rounded and start at a tenth of the largest, and pixels stay real numbers.
    """
    shape = (len(x), 1, 1, 1)
    weights = torch.empty(CHAINS, *shape, device=x.device).exponential_()
    weights /= weights.sum(0)
    mixed = torch.zeros_like(x)
    for weight in weights:
        mixed += weight * _chain(x)
    share = torch.rand(shape, device=x.device)
    return share * x + (1 - share) * mixed


def _chain(x: Tensor) -> Tensor:
    """One to DEPTH operations on each image, drawn with replacement."""
    depth = torch.randint(1, DEPTH + 1, (len(x),), device=x.device)
    for step in range(DEPTH):
        choice = torch.randint(len(OPERATIONS), (len(x),), device=x.device)
        strength = SEVERITY * (1 - 0.9 * torch.rand(len(x), 1, 1, 1, device=x.device))
        strength *= torch.randint(0, 2, strength.shape, device=x.device) * 2 - 1
        x = x.clone()
        for index, operation in enumerate(OPERATIONS):
            rows = ((choice == index) & (depth > step)).nonzero().flatten()
            if len(rows):
                x[rows] = operation(x[rows], strength[rows])
    return x


def autocontrast(x: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched to [0,1]; a constant one is left."""
    del strength
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    width = high - low
    return torch.where(width > 0, (x - low) / width.clamp_min(1e-6), x)


def equalize(x: Tensor, strength: Tensor) -> Tensor:
    """Each channel's values by their rank: the histogram becomes flat on [0,1]."""
    del strength
    flat = x.flatten(2).contiguous()
    ranks = torch.searchsorted(flat.sort(2).values, flat, right=True).to(x) - 1
    return (ranks / max(flat.shape[2] - 1, 1)).view_as(x)


def posterize(x: Tensor, strength: Tensor) -> Tensor:
    """Fewer bits: POSTERIZE less what the strength takes, [B,1,1,1] in [-1,1]."""
    levels = 2 ** (POSTERIZE * (1 - strength.abs()))
    return (x * levels).floor().clamp_max(levels.ceil() - 1) / levels


def solarize(x: Tensor, strength: Tensor) -> Tensor:
    """The brightest values, those above 1 - strength, turned into their negative."""
    return torch.where(x > 1 - strength.abs(), 1 - x, x)


def rotate(x: Tensor, strength: Tensor) -> Tensor:
    """By up to ROTATE about the centre."""
    angle = strength * ROTATE
    return _affine(x, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def shear_x(x: Tensor, strength: Tensor) -> Tensor:
    """Rows shifted in proportion to their height, by up to SHEAR."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(x, one, SHEAR * strength, zero, one)


def shear_y(x: Tensor, strength: Tensor) -> Tensor:
    """Columns shifted in proportion to their place, by up to SHEAR."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(x, one, zero, SHEAR * strength, one)


def translate_x(x: Tensor, strength: Tensor) -> Tensor:
    """Sideways by up to TRANSLATE of the width."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(x, one, zero, zero, one, across=2 * TRANSLATE * strength)


def translate_y(x: Tensor, strength: Tensor) -> Tensor:
    """Up or down by up to TRANSLATE of the height."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(x, one, zero, zero, one, down=2 * TRANSLATE * strength)


def _affine(
    x: Tensor, *matrix: Tensor, across: Tensor | None = None, down: Tensor | None = None
) -> Tensor:
    """x at matrix @ position + shift, in coordinates from -1 to 1; mirrored beyond the border."""
    a, b, c, d = matrix
    still = torch.zeros_like(a)
    rows = [[a, b, still if across is None else across], [c, d, still if down is None else down]]
    theta = torch.stack([torch.cat([v.flatten(1) for v in row], 1) for row in rows], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


OPERATIONS: tuple[Operation, ...] = (
    autocontrast,
    equalize,
    posterize,
    solarize,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)


def denoising(
    augment: Augment, *, way: float, begin: float = 0.5, end: float = 0.05, levels: int = 20
) -> Loss:
    """Denoising score matching from F(x) + sigma n back towards x; the network answers in noise.

    way: how far from F(x) to x the target lies: 1 with DCT, 1/2 with AugMix (Eq. 20, whose s is
    taken at the noisy image: at x', as printed, it would not see what it has to remove).
    """
    sigmas = ladder(begin, end, levels)

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        sigma = sigmas.to(x)[torch.randint(levels, (len(x), 1, 1, 1), device=x.device)]
        centre, noise = augment(x), torch.randn_like(x)
        score: Tensor = module(centre + sigma * noise)
        return (score + noise + way * (centre - x) / sigma).square().mean()

    return loss
