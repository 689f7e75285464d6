"""PixelDefend (Song et al. 2018): greedy raster decoding under a PixelCNN++, near the input.

Pixel by pixel and channel by channel, the level of the highest probability given what is already
purified, among the levels within `eps` of the input's (Algorithm 1). `threshold` makes it adaptive:
an image that costs no more bits per dimension is only rounded to the model's levels.

The article in the default, the authors' code in `variant=code` where they differ:
- Levels have the bins that the model was trained with; the code's 256 equal bins are half a level
  off at the ends, which 17 levels would not forgive.
- Green is chosen under p(green | red), for which red has to say which components of the mixture
  are likely; the code leaves their weights as they were before red was known.
- The threshold is one for the whole image; the code's is one for each pixel, on the mean
  cross-entropy of its three channels, and 3 bits where `threshold` is 0: its form without one is
  not offered. (Both read the input.)
- `eps` is a number in [0,1], 16/255 for the article's CIFAR-10 (32/255 for Fashion-MNIST), the
  same in both; the code's own default is 10/255.

The result lies on the model's levels, also where eps is 0. It is a step function of the input:
there is no gradient, and attacks pass theirs on.

Everything is computed in double precision. A rounding difference between two batch sizes could
turn a near-tie, and through its context every later pixel; images would depend on their batch.

Network calls: one of `pixelcnn-decode` is a whole decoding, the arithmetic of one evaluation of the
network (bench/models/nets/pixelcnnpp_decode.py) in as many small steps as there are pixels;
`pixelcnn` is the evaluation of the threshold. Images below the article's threshold are not decoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import ClassifierPlugin, Context, defense
from bench.api.images import DatasetInfo
from bench.api.purifier import Purifier, Traits
from bench.errors import BenchError
from bench.models.nets import logistic
from bench.models.nets.logistic import Mixture, to_level, to_value
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.models.nets.pixelcnnpp_decode import decode
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings

CODE_THRESHOLD = 3.0
"""Bits of a pixel above which the code's adaptive form purifies it."""
# Patches and digits: chosen on validation images (leaderboards/choices-<data set>.txt); on CIFAR-10
# the article too takes twice the attack's eps. It prints CIFAR-10, the default, and Fashion-MNIST.
# AID-Purifier stacks on PixelDefend on CIFAR-100, SVHN and TinyImageNet without an eps of its own:
# CIFAR-10's. MNIST is printed by neither: Fashion-MNIST's.
SETTINGS: Mapping[str, Settings] = {
    "patches": {"eps": 16 / 255},
    "digits": {"eps": 0.1875},
    "fashionmnist": {"eps": 32 / 255},
    "mnist": {"eps": 32 / 255},
}


class PixelDefend(Purifier):
    """Greedy decoding in a window around the input; deterministic."""

    def __init__(
        self, context: Context, prior: PixelCNNpp, eps: float, threshold: float, code: bool
    ) -> None:
        """eps in [0,1]; threshold in bits, 0 for none; code: the authors' bins and rule."""
        super().__init__()
        self.levels = prior.levels
        self.reach = math.floor(eps * (prior.levels - 1) + 1e-6)
        self.threshold, self.code = threshold, code
        prior = prior.double()

        def purify(x: Tensor, window: Tensor) -> Tensor:
            return purified(prior, to_level(x, prior.levels), window, code)

        def bits(x: Tensor) -> Tensor:
            level = to_level(x, prior.levels)
            params = prior(to_value(level, prior.levels, x.dtype))
            if code:
                return pixel_bits(params, level, prior.levels)
            return logistic.bits_per_dim(params, level, prior.levels)[:, None, None]

        self.decoder = context.network(prior, "pixelcnn-decode", purify)
        self.bits = context.network(prior, "pixelcnn", bits)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] to the same, on the model's levels."""
        fine = x.double()
        window = self.windows(fine)
        asked = (window > 0).flatten(1).any(1)
        out = to_level(fine, self.levels).double() / (self.levels - 1)
        if asked.any():
            out[asked] = self.decoder(fine[asked], window[asked])
        return out.to(x.dtype)

    def windows(self, x: Tensor) -> Tensor:
        """How many levels each pixel may move, int64 [B,H,W]."""
        window = torch.full_like(x[:, 0], self.reach, dtype=torch.long)
        if self.threshold:
            window = window * (self.bits(x) > self.threshold)
        return window


def purified(prior: PixelCNNpp, level: Tensor, window: Tensor, code: bool) -> Tensor:
    """Images in [0,1] from int64 levels [B,C,H,W] and windows [B,H,W] in levels."""
    reach = int(window.max())

    def choose(params: Tensor, i: int, j: int) -> Tensor:
        near, room = level[:, :, i, j], window[:, i, j]
        chosen = greedy(params, near, room, reach, levels=prior.levels, code=code)
        return to_value(chosen, prior.levels, params.dtype)

    value = decode(prior, to_value(level, prior.levels, prior.nin_out.lin_a.bias.dtype), choose)
    return to_level((value + 1) / 2, prior.levels).to(value.dtype) / (prior.levels - 1)


def greedy(
    params: Tensor, level: Tensor, window: Tensor, reach: int, *, levels: int, code: bool
) -> Tensor:
    """The likeliest level of each channel in turn, int64 [B,C]; of a tie the lowest.

    params [B,P]; level [B,C] of the input; window [B] in levels, none above `reach`.
    """
    channels = level.shape[1]
    mixture, chosen = Mixture.of(params, channels), level.clone()
    log_weight = mixture.log_weight[:, :, None]
    offset = torch.arange(-reach, reach + 1, device=level.device)
    log_mass = logistic.log_bin if code else logistic.log_level
    for c in range(channels):
        candidate = level[:, c : c + 1] + offset
        allowed = (offset.abs() <= window[:, None]) & (candidate >= 0) & (candidate < levels)
        candidate = candidate.clamp(0, levels - 1)
        mean = mixture.centre(c, to_value(chosen, levels, params.dtype))[:, :, None]
        log_p = log_mass(candidate[:, None], mean, mixture.log_scale[:, c, :, None], levels)
        total = (log_weight + log_p).logsumexp(1).masked_fill(~allowed, -torch.inf)
        best = total.argmax(1, keepdim=True)
        chosen[:, c] = candidate.gather(1, best)[:, 0]
        if not code:
            log_weight = log_weight + log_p.gather(2, best[:, None].expand(-1, log_p.shape[1], 1))
    return chosen


def pixel_bits(params: Tensor, level: Tensor, levels: int) -> Tensor:
    """Cross-entropy of each pixel in bits, mean over channels [B,H,W]: the code's threshold."""
    rows = []
    for i in range(level.shape[2]):  # all levels of all pixels at once would be gigabytes
        here = level[:, :, i]
        log_p = logistic.bin_log_weights(params[:, :, i], here, levels).log_softmax(2)
        rows.append(-log_p.gather(2, here[:, :, None])[:, :, 0].mean(1) / math.log(2))
    return torch.stack(rows, 1)


def _threshold(settings: Settings) -> float:
    given = float(settings["threshold"])
    return given or (CODE_THRESHOLD if settings["variant"] == "code" else 0.0)


def _calls(settings: Settings) -> dict[str, int]:
    return {"pixelcnn-decode": 1, "pixelcnn": int(_threshold(settings) > 0)}


def _fits(settings: Settings, dataset: str) -> None:
    """Images have 256 levels, and no model has more; with fewer, `pixeldefend` refuses."""
    del dataset
    if float(settings["eps"]) * 255 + 1e-6 < 1:
        raise BenchError(
            f"pixeldefend: eps={float(settings['eps']):g} is less than one grey level of an image "
            "(allowed: 1/255 and more)"
        )


def _misfit(settings: Settings, classifier: ClassifierPlugin, info: DatasetInfo) -> str | None:
    del settings, classifier
    channels, height, width = info.shape
    if channels not in (1, 3) or height % 4 or width % 4:
        return f"pixeldefend needs 1 or 3 channels and sides in fours, not {info.shape}"
    return None


@defense(
    "pixeldefend",
    source="Song et al. 2018, PixelDefend: Leveraging Generative Models to Understand and Defend",
    paper="Song et al. 2018",
    link="https://arxiv.org/abs/1710.10766",
    settings=SETTINGS,
    traits=lambda settings: Traits(exact=False),
    calls=_calls,
    weights=lambda settings: ("pixelcnn",),
    fits=_fits,
    misfit=_misfit,
)
def pixeldefend(
    context: Context,
    *,
    eps: Annotated[float, Range(0, 1)] = 16 / 255,
    threshold: Annotated[float, Range(0)] = 0.0,
    variant: Literal["paper", "code"] = "paper",
) -> PixelDefend:
    """The likeliest pixels within eps, one by one in raster order, under a PixelCNN++.

    `threshold` in bits per dimension: images at or below it are left alone; 0 purifies all.
    `variant=code` decides that for each pixel, at 3 bits where no threshold is given.
    """
    prior = rebuild_as(context.weights("pixelcnn"), "a PixelCNN++", PixelCNNpp)
    if prior.channels != context.shape[0]:
        raise BenchError(
            f"pixeldefend: the weights 'pixelcnn' are no PixelCNN++ of {context.shape[0]} channels"
        )
    if eps * (prior.levels - 1) + 1e-6 < 1:
        raise BenchError(
            f"pixeldefend: eps={eps:g} is less than one of the {prior.levels} grey levels of the "
            f"weights 'pixelcnn' (allowed: {1 / (prior.levels - 1):.4g} and more)"
        )
    threshold = _threshold({"threshold": threshold, "variant": variant})
    return PixelDefend(context, prior, eps, threshold, variant == "code")
