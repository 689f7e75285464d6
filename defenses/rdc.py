"""RDC (Chen et al. 2024): the likeliest image nearby, and the class under which it denoises best.

`lm` moves an image up its likelihood under a diffusion model: some steps of Adam on the error of
one-shot denoising at random levels, which is Algorithm 1 of ScoreOpt with a bound. `@rdc` is a
classifier without any: the logit of a class is minus the weighted error of a denoiser that is told
the class, summed over noise levels, all classes seeing the same fresh noise. `lm@rdc` is RDC; `lm`
stands on any classifier, and `@rdc` behind any purifier.

Levels are the left ends of `points` equal parts of [1e-4, `top`], in images from -1 to 1; the
weight of one is EDM's (Karras et al. 2022, Table 1), its density in training included, times its
part. One answer costs classes x points calls of the denoiser, counted as one of the classifier, and
is random, so that attacks average over draws. Its gradient is exact and has the memory of one
level.

Paper and published code differ. `variant=code` is the code's weight, whose density has the squared
deviation where it should be divided by it. The code resets all seeds before each purification, so
that it always draws the same numbers; nothing is reset here. Its batches share one mean loss, which
beside Adam's eps nothing shows; and in attacks its classes see different noise (`noise=separate`).
The paper bounds how far an image moves; the code's bound is 100, which nothing reaches, and so is
ours (`eps`, l2 in [0,1]). The authors attack `lm` by BPDA; its gradient is exact here but for
Adam's first step, as in `scoreopt-o`.

`bench train rdc` trains a small denoiser that is told the class; on CIFAR-10 it is EDM's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.api import Context, Named, Training, classifier, defense, recipe
from bench.api.chain import Step
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Traits
from bench.errors import BenchError
from bench.models.nets.edm import EDMPrecond
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings
from defenses.denoise import Class, fits, load, weights, with_networks
from defenses.scoreopt import ScoreOptO, range_of
from defenses.scoreopt_walk import ADAM_EPS, AdamRule, Moving

PAPER, LINK = "Chen et al. 2024", "https://arxiv.org/abs/2305.15241"
SOURCE = "Chen et al. 2024, Robust Classification via a Single Diffusion Model"
LOWEST = 1e-4
"""The first noise level."""
P_MEAN, P_STD = -1.2, 1.2
"""Of ln(sigma) when EDM's networks are trained."""
FAR = 100.0
"""The code's bound."""
SIGMA_DATA = {"patches": 0.36, "digits": 0.75}
"""Root mean square of the images in [-1,1], as of the weights `edm`; 0.5 elsewhere."""
# lm: as scoreopt-o, which takes the same steps (leaderboards/choices-<data set>.txt).
WALKS: Mapping[str, Settings] = {
    "patches": {"lr": 0.04, "t_min": 0.1, "t_max": 0.25},
    "digits": {"lr": 0.05, "t_min": 0.2, "t_max": 0.4},
}
# rdc: chosen on 32 validation images, clean and under 8 blind steps: 100 and 88 % at 4 levels below
# 1 (100 and 50 below .5, 94 and 81 below 2; 100 and 66 at 8 levels below 1). Digits: on 64 clean
# ones, of which 100 % are right with levels below 2 and 89 below 1.
LEVELS: Mapping[str, Settings] = {
    "patches": {"points": 4, "top": 1.0},
    "digits": {"points": 4, "top": 2.0},
}
Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images and noise [B,C,H,W] in [-1,1], sigma, classes int64 [B]) -> denoised ones."""


def levels(points: int, top: float) -> tuple[Tensor, float]:
    """The noise levels [points] and the part of [LOWEST, top] that each stands for."""
    ends = torch.linspace(LOWEST, top, points + 1)
    return ends[:-1], (top - LOWEST) / points


def weight(sigma: Tensor, sigma_data: float, *, code: bool = False) -> Tensor:
    """EDM's weight of the squared error times the density of sigma in training; like sigma."""
    far = (sigma.log() - P_MEAN).square() / 2
    exponent = far * P_STD**2 if code else far / P_STD**2
    density = (-exponent).exp() / (sigma * P_STD * math.sqrt(2 * math.pi))
    return density * (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def errors(denoise: Conditional, z: Tensor, sigma: Tensor, noise: Tensor, classes: int) -> Tensor:
    """Mean squared error of images z [B,C,H,W] in [-1,1] at one level under each class, [B,K].

    noise: like z, for all classes, or [K*B,C,H,W], classes first.
    """
    each = torch.arange(classes, device=z.device).repeat_interleave(len(z))
    clean = z.repeat(classes, 1, 1, 1)
    noise = noise.repeat(len(clean) // len(noise), 1, 1, 1)
    off = denoise(clean + sigma * noise, sigma, each) - clean
    return off.square().flatten(1).mean(1).view(classes, len(z)).T


class DiffusionClassifier(nn.Module):
    """Images [B,C,H,W] in [0,1] to logits [B,K], by how well a denoiser does under each class."""

    sigmas: Tensor
    weights: Tensor

    def __init__(
        self, denoiser: nn.Module, classes: int, sigmas: Tensor, weights: Tensor, *, separate: bool
    ) -> None:
        """`weights`: of the error at each of `sigmas`. separate: each class has its own noise."""
        super().__init__()
        self.denoiser, self.classes, self.separate = denoiser, classes, separate
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """With fresh noise at each level."""
        z, logits = 2 * x - 1, x.new_zeros(len(x), self.classes)
        for sigma, factor in zip(self.sigmas, self.weights, strict=True):
            seen = z.repeat(self.classes, 1, 1, 1) if self.separate else z
            logits = logits - factor * self.at(z, sigma, torch.randn_like(seen))
        return logits

    def at(self, z: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """`errors` at one level; what a gradient needs is computed again when it is asked for."""
        if not torch.is_grad_enabled():
            return errors(self.told, z, sigma, noise, self.classes)
        again: Tensor = checkpoint(
            errors, self.told, z, sigma, noise, self.classes,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
        return again

    def told(self, noisy: Tensor, sigma: Tensor, classes: Tensor) -> Tensor:
        """The denoiser under classes [B]."""
        denoised: Tensor = self.denoiser(noisy, sigma, classes=classes)
        return denoised


@classifier(
    "rdc", paper=PAPER, link=LINK, settings=LEVELS, weights=lambda settings: ("rdc",), random=True
)
def rdc(
    context: Context,
    *,
    points: Annotated[int, Range(1, 10_000)] = 125,
    top: Annotated[float, Range(1e-3, 80)] = 3.0,
    noise: Literal["shared", "separate"] = "shared",
    variant: Literal["paper", "code"] = "paper",
) -> DiffusionClassifier:
    """A diffusion model as a classifier: the class under which images denoise best."""
    stored = context.weights("rdc")
    made = rebuild_as(stored, "an EDM denoiser", EDMPrecond)
    if _told(made) != context.classes:
        raise BenchError(
            f"rdc: this denoiser is told {_told(made)} classes; {context.dataset} has "
            f"{context.classes}"
        )
    # A plan asks for sizes alone, which one level says as well as all of them.
    sizes_only = stored.untrained in ("zeros", "shapes")
    sigmas, part = levels(1 if sizes_only else points, top)
    weights = weight(sigmas, made.sigma_data, code=variant == "code") * part
    return DiffusionClassifier(made, context.classes, sigmas, weights, separate=noise == "separate")


def _told(denoiser: EDMPrecond) -> int:
    """How many classes it was trained with."""
    return int(getattr(denoiser.model, "classes", 0))


class Likelihood(ScoreOptO):
    """Algorithm 1 of ScoreOpt, whose point never leaves an l2 ball around the image."""

    def __init__(
        self,
        denoiser: Network,
        rule: AdamRule,
        steps: int,
        t_min: float,
        t_max: float,
        *,
        eps: float,
    ) -> None:
        """`eps`: the ball's radius in [0,1]."""
        super().__init__(denoiser, rule, steps, t_min, t_max)
        self.eps = eps

    def walk(self, x: Tensor) -> Iterator[Step]:
        """Every step, and back into the ball; the last one takes the image out of the state."""

        def held(step: Step) -> Step:
            def inside(z: Tensor, rows: slice) -> Tensor:
                after = step(z, rows)
                return after if after.shape[1] == x.shape[1] else self.near(after)

            return inside

        yield from map(held, super().walk(x))

    def near(self, joined: Tensor) -> Tensor:
        """A state whose point is in the ball."""
        state = Moving.of(joined)
        off = state.point - state.start
        size = off.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return state._replace(point=state.start + off * (2 * self.eps / size).clamp(max=1)).join()


def _traits(settings: Settings) -> Traits:
    range_of(settings, "lm")
    still = not float(settings["lr"]) or not float(settings["eps"])  # the image stays as it is
    return Traits(random=not still, surrogate=True, runs=1 if still else int(settings["runs"]))


@defense(
    "lm",
    source=SOURCE,
    paper=PAPER,
    link=LINK,
    groups={"competitors": ("lm@rdc",)},
    settings=with_networks(WALKS),
    traits=_traits,
    calls=lambda settings: {"denoiser": (int(settings["steps"]),) * 2},
    gradient_calls=lambda settings: {
        "denoiser": (int(settings["steps"]), 2 * int(settings["steps"]))
    },
    surrogate_calls=lambda settings: {"denoiser": (2, 1)},
    weights=weights,
    fits=fits,
)
def lm(
    context: Context,
    *,
    lr: Annotated[float, Range(0, 10)] = 0.1,
    steps: Annotated[int, Range(1, 1000)] = 5,
    t_min: Annotated[float, Range(1e-3, 80)] = 0.4,
    t_max: Annotated[float, Range(1e-3, 80)] = 0.6,
    eps: Annotated[float, Range(0, 1e6)] = FAR,
    runs: Annotated[int, Range(1, 1000)] = 1,
    network: Class = "compact",
) -> Likelihood:
    """Steps of Adam up an image's likelihood under a diffusion model."""
    rule = AdamRule("diff", 0.0, lr, ADAM_EPS * math.prod(context.shape))
    return Likelihood(load(context, network), rule, steps, t_min, t_max, eps=eps)


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """EDM's, of a denoiser that is told the class."""
    clean = 2 * x - 1
    sigma = (P_MEAN + P_STD * torch.randn(len(x), 1, 1, 1, device=x.device)).exp()
    off = module(clean + sigma * torch.randn_like(clean), sigma, classes=y) - clean
    assert isinstance(module, EDMPrecond)
    data = module.sigma_data
    each: Tensor = (sigma**2 + data**2) / (sigma * data) ** 2 * off.square()
    return each.mean()


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """The percentage of some images that is right with 8 levels below 1."""
    assert isinstance(module, EDMPrecond)
    x, y = x[:128], y[:128]
    sigmas, part = levels(8, 1.0)
    weights = weight(sigmas, module.sigma_data) * part
    made = DiffusionClassifier(module, _told(module), sigmas, weights, separate=False)
    with torch.no_grad():
        return {"clean@8": round(100 * (made(x).argmax(1) == y).float().mean().item(), 1)}


@recipe("rdc")
def trained(info: DatasetInfo) -> Training:
    """A small U-Net on small images, else EDM's class of network."""
    channels, classes = info.shape[0], len(info.classes)
    if min(info.shape[1:]) < 32:
        colour = {"widths": [16, 32, 48], "blocks": [1, 1, 1]}
        grey = {"widths": [32, 48], "blocks": [1, 1], "stem_stride": 2}
        size = {"sigma_data": SIGMA_DATA.get(info.name, 0.5), **(colour if channels == 3 else grey)}
        network = Named("edm", {**size, "channels": channels, "classes": classes}, False)
    else:
        size = {"img_resolution": info.shape[1], "img_channels": channels, "augment_dim": 0}
        network = Named("edm-ddpmpp", {**size, "label_dim": classes}, standardised=False)
    small = network.name == "edm"
    return Training(
        network=network,
        loss=_loss,
        steps=2500 if small else 200_000,
        batch=128,
        lr=4e-3 if small else 1e-3,
        ema=0.999,
        clip=1.0,
        merit=_merit,
        half=small,
    )
