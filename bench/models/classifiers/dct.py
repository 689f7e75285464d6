"""DCT augmentation and low-pass activations (Hossain et al. 2020): a classifier for corruptions.

In training half of the images lose small coefficients of the cosine transform of their luminance:
those below a threshold that is drawn anew for each image, 0 to 50 where pixels go to 255. That
takes faint detail away and leaves strong edges. Activations are rectifiers that rise by a twentieth
only above 10 (LP-ReLU1), against large responses to noise.

As in the authors' code: threshold, luminance, activation, network without a crop or a mirror
(blocks of two convolutions that add before they activate, 38 layers, width 2 times 16), momentum
from .1, weight decay 5e-4, 160 epochs. Unlike it: thresholds are drawn for each batch and need not
be whole, where it stores one version of each image beside the original; the first stage has the
stem's width, 32; learning rates fall at 30, 60 and 80 % of the way, theirs at 31, 62 and 94 %.
Small images get a small network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, classifier, recipe
from bench.api.images import DatasetInfo
from bench.compute.cosine import basis
from bench.models.zoo.networks import rebuild

LARGEST = 50 / 255
"""Of the thresholds, in units of [0,1]; the transform keeps lengths."""
LUMA = (0.299, 0.587, 0.114)
CUT = 10.0
"""Where LP-ReLU1 bends."""


def without_detail(x: Tensor, threshold: Tensor) -> Tensor:
    """Images [B,C,H,W] whose luminance has no coefficient below `threshold` [B], in [0,1].

    Colours keep their distance to it: the same is added to every channel.
    """
    down, across = basis(x.shape[2]).to(x), basis(x.shape[3]).to(x)
    shares = x.new_tensor(LUMA if x.shape[1] == len(LUMA) else [1 / x.shape[1]] * x.shape[1])
    luma = (x * shares.view(-1, 1, 1)).sum(1)
    found = down @ luma @ across.T
    small = found * (found.abs() < threshold.view(-1, 1, 1))
    return (x - (down.T @ small @ across)[:, None]).clamp(0, 1)


def augmented(x: Tensor) -> Tensor:
    """Half of the images, chosen at random, with thresholds of their own."""
    chosen, share = torch.rand(2, len(x), device=x.device)
    return without_detail(x, torch.where(chosen < 0.5, LARGEST * share, 0.0))


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """The percentage that is right, as images are and without all detail that training takes."""
    with torch.no_grad():
        plain = without_detail(x, x.new_full((len(x),), LARGEST))
        right = {"right": module(x), "coarse": module(plain)}
    return {k: round(100 * (v.argmax(1) == y).float().mean().item(), 1) for k, v in right.items()}


@recipe("dct")
def trained(info: DatasetInfo) -> Training:
    """On small images three blocks for a few minutes of a core."""
    small = min(info.shape[1:]) < 32
    size = {"blocks": [1, 1, 1], "width": 16} if small else {"blocks": [6, 6, 6], "width": 32}
    classes, channels = len(info.classes), info.shape[0]
    return Training(
        network=Named(
            "resnet-projected", {**size, "classes": classes, "channels": channels, "cut": CUT}
        ),
        loss=lambda module, x, y: F.cross_entropy(module(x), y),
        steps=800 if small else 56_160,
        lr=5e-3 if small else 0.1,
        optimizer="adamw" if small else "momentum",
        weight_decay=1e-2 if small else 5e-4,
        schedule="onecycle" if small else "wideresnet",
        augment=augmented,
        merit=_merit,
        half=small,
    )


@classifier(
    "dct",
    paper="Hossain et al. 2020",
    link="https://arxiv.org/abs/2007.09453",
    weights=lambda settings: ("dct",),
)
def dct(context: Context) -> nn.Module:
    """A ResNet with low-pass activations, trained on images without faint detail."""
    return rebuild(context.weights("dct"))
