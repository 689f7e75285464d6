"""ADBM (Li et al. 2025): noise as in DiffPure, and a way back that ends at the clean image.

DiffPure's network takes noise away and knows nothing of an attack, what is left of which after the
noise it takes for image. ADBM trains one on a bridge: at time T stands the attacked image with
noise, and on the way back the attack fades, as the square of the noise against the image,

    x_t / sqrt(a_t) = x_0 + (sigma_t / sigma_T)^2 (x_adv - x_0) + sigma_t n,

of which the network shall see x_0. Purification is noise of `t` thousandths, then `steps` of DDIM,
which draw none. Its gradient is exact. The paper's 100 and 5 are the defaults everywhere: on 64
validation images of patches and of digits t=150 was no better by more than 1.1 points in the mean
of blind, BPDA and exact attacks, t=200 worse.

In training T is drawn from .1 to .2, t below it, and the attack is `ATTACKED` sign steps as long as
the ball is wide, up the cross-entropy of what the network makes of x_t, with the same t and noise
throughout. A classifier guides it, but the network stands before any.

Unlike theirs: they tune DiffPure's network, `bench train adbm` makes one of its own, from nothing,
guided by `natural`; errors are weighted as EDM's (Karras et al. 2022), which is theirs where noise
is small; no prediction is clipped on the way; noise is that of the step at which denoising begins,
one thousandth less than the code adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, defense, recipe
from bench.api.ball import ThreatModel
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.models.nets.edm import EDMPrecond
from bench.models.zoo.networks import rebuild, rebuild_as
from bench.models.zoo.weights import find
from bench.spec import Range, Settings
from defenses.schedule import BETA_FIRST, BETA_LAST, STEPS, noise_prediction, run, there_and_back

SHORTEST, LONGEST = 0.1, 0.2
"""Of T in training."""
LEAST_TIME = 1e-5
ATTACKED = 3
"""Steps of an attack in training."""
SIGMA_DATA = {"patches": 0.36, "digits": 0.75}
"""Root mean square of the images in [-1,1], as of the weights `edm`; 0.5 elsewhere."""


def sigma_at(time: Tensor) -> Tensor:
    """Noise against the image at `time` in [0,1] of the continuous process; like time."""
    first, last = STEPS * BETA_FIRST, STEPS * BETA_LAST
    return (time * first + time.square() * (last - first) / 2).expm1().sqrt()


def bridge(clean: Tensor, change: Tensor, sigma: Tensor, end: Tensor, noise: Tensor) -> Tensor:
    """x_t / sqrt(a_t) at noise `sigma` [B,1,1,1] on the way from attacked images at noise `end`.

    change: attacked minus clean images [B,C,H,W] in [-1,1].
    """
    return clean + (sigma / end).square() * change + sigma * noise


class ADBM(Purifier):
    """Noise, then DDIM's way back with a network that was trained on a bridge."""

    def __init__(self, denoiser: Network, t: int, steps: int) -> None:
        """`t`: noise in thousandths of the process; `steps` back."""
        super().__init__()
        self.denoiser, self.t, self.steps = denoiser, t, steps

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        draws = iter([torch.randn_like(x)])
        nothing = torch.zeros_like(x)
        prior = noise_prediction(self.denoiser)
        return run(
            there_and_back(prior, self.t, self.steps, lambda: next(draws, nothing), eta=0.0), x
        )


def _fits(settings: Settings, dataset: str) -> None:
    del dataset
    if int(settings["steps"]) > int(settings["t"]):
        raise BenchError(f"adbm: at most t={settings['t']} steps, not {settings['steps']}")


def _calls(settings: Settings) -> dict[str, int]:
    return {"denoiser": int(settings["steps"])}


@defense(
    "adbm",
    source="Li et al. 2025, ADBM: Adversarial Diffusion Bridge Model",
    paper="Li et al. 2025",
    link="https://arxiv.org/abs/2408.00315",
    groups={"competitors": ("adbm",)},
    traits=lambda settings: Traits(random=True, runs=int(settings["runs"])),
    calls=_calls,
    gradient_calls=lambda settings: {n: (c, c) for n, c in _calls(settings).items()},
    weights=lambda settings: ("adbm",),
    fits=_fits,
)
def adbm(
    context: Context,
    *,
    t: Annotated[int, Range(1, 1000)] = 100,
    steps: Annotated[int, Range(1, 1000)] = 5,
    runs: Annotated[int, Range(1, 1000)] = 1,
) -> ADBM:
    """Noise, and a diffusion model's way back that was trained to end at the clean image."""
    made = rebuild_as(context.weights("adbm"), "an EDM denoiser", EDMPrecond)
    return ADBM(context.network(made, "denoiser"), t, steps)


def changes(
    seen: Callable[[Tensor], Tensor], victim: nn.Module, clean: Tensor, y: Tensor, eps: float
) -> Tensor:
    """What an attack adds to images in [-1,1], within `eps` of them in [0,1].

    seen(change): what the classifier `victim` is given of changed images, in [-1,1].
    """
    change = 2 * eps * (2 * torch.rand_like(clean) - 1)
    for _ in range(ATTACKED):
        with torch.enable_grad():
            point = change.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(victim((seen(point) + 1) / 2), y), point)
        moved = (change + 2 * eps * g.sign()).clamp(-2 * eps, 2 * eps)
        change = ((clean + moved).clamp(-1, 1) - clean).detach()
    return change


def _loss(module: nn.Module, x: Tensor, y: Tensor, victim: nn.Module, eps: float) -> Tensor:
    """The weighted error of x_0 on the bridge from an attack on what the network makes of it."""
    assert isinstance(module, EDMPrecond)
    clean, noise = 2 * x - 1, torch.randn_like(x)
    end = SHORTEST + (LONGEST - SHORTEST) * torch.rand(1, 1, 1, 1, device=x.device)
    time = LEAST_TIME + (end - LEAST_TIME) * torch.rand(len(x), 1, 1, 1, device=x.device)
    sigma, last = sigma_at(time), sigma_at(end)

    def seen(change: Tensor) -> Tensor:
        answer: Tensor = module(bridge(clean, change, sigma, last, noise), sigma)
        return answer

    off = seen(changes(seen, victim, clean, y, eps)) - clean
    data = module.sigma_data
    return ((sigma**2 + data**2) / (sigma * data) ** 2 * off.square()).mean()


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Root mean squared error of clean images in grey levels, after a purification."""
    del y
    with torch.no_grad():
        again = ADBM(Network(module, "denoiser"), 100, 5)(x)
        return {"rmse/255": round(255 * F.mse_loss(again, x).sqrt().item(), 2)}


@recipe("adbm")
def trained(info: DatasetInfo) -> Training:
    """A small U-Net on small images, else EDM's class of network."""
    channels = info.shape[0]
    balls = [ThreatModel.parse(text) for text in (info.threat, *info.threats)]
    eps = next((ball.eps for ball in balls if ball.norm == "linf"), 8 / 255)
    if min(info.shape[1:]) < 32:
        colour = {"widths": [16, 32, 48], "blocks": [1, 1, 1]}
        grey = {"widths": [32, 48], "blocks": [1, 1], "stem_stride": 2}
        size = {"sigma_data": SIGMA_DATA.get(info.name, 0.5), **(colour if channels == 3 else grey)}
        network = Named("edm", {**size, "channels": channels}, standardised=False)
    else:
        sides = {"img_resolution": info.shape[1], "img_channels": channels, "augment_dim": 0}
        network = Named("edm-ddpmpp", sides, standardised=False)
    victims: list[nn.Module] = []

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not victims:
            victims.append(rebuild(find(info.name, "natural")).to(x.device))
        return _loss(module, x, y, victims[0], eps)

    small = network.name == "edm"
    return Training(
        network=network,
        loss=loss,
        steps=2500 if small else 200_000,
        batch=64 if small else 128,
        lr=4e-3 if small else 1e-4,
        ema=0.999,
        clip=1.0,
        merit=_merit,
        half=small,
    )
