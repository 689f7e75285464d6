"""Adversarial vertex mixup (Lee et al. 2020): images and soft labels between clean and vertex."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.nets.aid import Augment, Discriminator, pooled
from bench.training.fit import Loss
from bench.training.losses import ascend


def vertex(x: Tensor, delta: Tensor, gamma: float, clip: bool = True) -> Tensor:
    """The image `gamma` times as far away as the adversarial one, x + delta; like x."""
    v = x + gamma * delta
    return v.clamp(0, 1) if clip else v


def between(clean: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """`weight` [B] on the clean side, for images and for labels."""
    w = weight.view(-1, *[1] * (clean.dim() - 1))
    return w * clean + (1 - w) * other


def smooth(labels: Tensor, right: float) -> Tensor:
    """One-hot labels [B,K] with `right` on the class and the rest on the others."""
    return labels * right + (1 - labels) * (1 - right) / (labels.shape[1] - 1)


def lee(
    eps: float,
    *,
    steps: int = 10,
    size: float = 0.25,
    gamma: float = 2.0,
    clean: float = 1.0,
    other: float = 0.1,
) -> Loss:
    """Cross-entropy between clean images and the vertices of linf-PGD examples of size `eps`.

    `clean` and `other` are the label weights of the two ends, `size` the step in units of eps.
    Numbers are those of CIFAR-10 (Lee et al. 2020, section 5.1).
    """

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        delta = _pgd(module, x, y, eps=eps, steps=steps, size=size * eps)
        module.train()
        weight = torch.rand(len(x), device=x.device)
        mixed = between(x, vertex(x, delta, gamma), weight)
        logits: Tensor = module(mixed)
        labels = F.one_hot(y, logits.shape[1]).to(x)
        target = between(smooth(labels, clean), smooth(labels, other), weight)
        return F.cross_entropy(logits, target)

    return loss


def discriminate(
    classifier: nn.Module,
    eps: float,
    size: float,
    gamma: float,
    steps: int = 10,
    *,
    augment: Augment = "avmixup",
) -> Loss:
    """Binary cross-entropy of a discriminator on a frozen classifier's maps.

    Algorithm 1 of AID-Purifier. The module is a discriminator of bench/models/nets/aid.py. The
    published code clips the vertex to [0,1], the paper's form does not. PGD has a random start,
    `size` is its step. Without mixing each image stands once as clean and once as adversarial, or
    as the vertex.
    """
    reach = gamma if augment in ("avmixup", "av") else 1.0

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        delta = _pgd(classifier, x, y, eps=eps, steps=steps, size=size)
        far = vertex(x, delta, reach, clip=not isinstance(module, Discriminator))
        if augment in ("avmixup", "mixup"):
            weight = torch.rand(len(x), device=x.device)
            seen = between(x, far, weight)
        else:
            weight = torch.cat([torch.ones_like(y), torch.zeros_like(y)]).to(x)
            seen = torch.cat([x, far])
        return verdict(module, pooled(classifier, seen, _taps(module)), weight)

    return loss


def contrast(classifier: nn.Module) -> Loss:
    """Binary cross-entropy between pairs of maps of one image and of two (AID-Purifier, 2.2).

    The other image is the one before it in the batch.
    """

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        low, high = pooled(classifier, x, _taps(module))
        maps = torch.cat([low, low]), torch.cat([high, high.roll(1, 0)])
        weight = torch.cat([torch.ones_like(y), torch.zeros_like(y)]).to(x)
        return verdict(module, maps, weight)

    return loss


def verdict(module: nn.Module, maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Binary cross-entropy of a discriminator against the clean side's weight [B]."""
    logit: Tensor = module(maps)
    target = 1 - weight if isinstance(module, Discriminator) else weight
    return F.binary_cross_entropy_with_logits(logit.flatten(), target)


def _taps(module: nn.Module) -> Sequence[str]:
    taps = module.taps
    assert isinstance(taps, tuple)
    return taps


def _pgd(module: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, size: float) -> Tensor:
    """The perturbation of linf-PGD on cross-entropy from a random start; like x."""
    start = eps * (2 * torch.rand_like(x) - 1)
    attacked = ascend(
        module, x, start, lambda z: F.cross_entropy(z, y), eps=eps, steps=steps, size=size
    )
    return attacked - x
