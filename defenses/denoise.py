"""One-shot denoising (Lee 2021; Carlini et al. 2023): noise, then one call of a denoiser.

The purifier that every diffusion defense has to beat, and the differentiable stand-in for ScoreOpt.
Carlini et al. vote over up to 100,000 draws of a noisy image for a certificate; here the mean
softmax over `runs` draws decides, as for other random purifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import Context, defense
from bench.api.chain import Step
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.models.nets.edm import EDMPrecond, VPPrecond
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings
from defenses.schedule import run

Class = Literal["compact", "ddpmpp", "guided", "score-sde"]
WEIGHTS = {
    **{"compact": "edm", "ddpmpp": "edm-ddpmpp", "guided": "guided"},
    "score-sde": "score-sde",
}
"""The compact denoiser of the embedded data, and the papers' classes; score-SDE's is the published
network of DiffPure and of Lee & Kim on CIFAR-10."""
ONLY = {"guided": "imagenet", "score-sde": "cifar10"}
"""Published networks of one data set."""
# Zhang et al. 2023, C.4: EDM's DDPM++ for CIFAR, guided diffusion for ImageNet (as DiffPure, GDMP
# and Lee & Kim there). Nobody printed a network for the others: CIFAR's class, trained on them.
NETWORKS: Mapping[str, Settings] = {
    "cifar10": {"network": "ddpmpp"},
    "cifar100": {"network": "ddpmpp"},
    "svhn": {"network": "ddpmpp"},
    "tinyimagenet": {"network": "ddpmpp"},
    "mnist": {"network": "ddpmpp"},
    "fashionmnist": {"network": "ddpmpp"},
    "imagenet": {"network": "guided"},
}


def with_networks(settings: Mapping[str, Settings]) -> dict[str, Settings]:
    """A defense's table per data set, with the network of each in front."""
    names = dict.fromkeys((*NETWORKS, *settings))
    return {name: {**NETWORKS.get(name, {}), **settings.get(name, {})} for name in names}


# Networks of ours: chosen on validation images (leaderboards/choices-<data set>.txt). The papers':
# sigma .25, the least of Carlini et al.'s levels; nobody printed one for linf.
SETTINGS: Mapping[str, Settings] = {
    "patches": {"sigma": 0.15},
    "digits": {"sigma": 0.2},
    "cifar10-compact": {"sigma": 0.15},
}


def load(context: Context, network: Class = "compact") -> Network:
    """The denoiser (x + sigma n, sigma) -> x in [-1,1], under the name `denoiser`."""
    found = context.weights(WEIGHTS[network])
    return context.network(rebuild_as(found, "an EDM denoiser", EDMPrecond, VPPrecond), "denoiser")


def fits(settings: Settings, dataset: str) -> None:
    """Raises BenchError for a network of other images."""
    usual = NETWORKS.get(dataset, {"network": "compact"})["network"]
    network = str(settings["network"])
    if dataset and ONLY.get(network, dataset) != dataset:
        raise BenchError(
            f"network={network} is of {ONLY[network]}; on {dataset} it is network={usual}"
        )


def weights(settings: Settings) -> tuple[str, ...]:
    """The file behind the setting `network`."""
    return (WEIGHTS[str(settings["network"])],)


def shot(denoiser: Network, t: Tensor, noise: Tensor) -> Step:
    """x -> D(x + t noise, t) as a step of a chain; t [B,1,1,1] and noise are of the whole batch."""

    def step(x: Tensor, rows: slice) -> Tensor:
        denoised: Tensor = denoiser(x + t[rows] * noise[rows], t[rows])
        return denoised

    return step


class Denoise(Purifier):
    """x -> D(x + sigma n), with the memory of one chunk when it is differentiated."""

    def __init__(self, denoiser: Network, sigma: float) -> None:
        """`sigma` in [0,1] pixel units."""
        super().__init__()
        self.denoiser, self.sigma = denoiser, sigma

    def forward(self, x: Tensor) -> Tensor:
        """One purification with fresh noise, [B,C,H,W] in [0,1] to the same."""
        t = torch.full((len(x), 1, 1, 1), 2 * self.sigma, dtype=x.dtype, device=x.device)
        return run([shot(self.denoiser, t, torch.randn_like(x))], x)


@defense(
    "denoise",
    source="Lee 2021; Carlini et al. 2023, (Certified!!) Adversarial Robustness for Free!",
    paper="Carlini et al. 2023",
    link="https://arxiv.org/abs/2206.10550",
    settings=with_networks(SETTINGS),
    traits=lambda settings: Traits(random=True, runs=int(settings["runs"])),
    calls=lambda settings: {"denoiser": 1},
    gradient_calls=lambda settings: {"denoiser": (1, 1)},
    weights=weights,
    fits=fits,
)
def denoise(
    context: Context,
    *,
    sigma: Annotated[float, Range(1e-3, 10)] = 0.25,
    runs: Annotated[int, Range(1, 1000)] = 10,
    network: Class = "compact",
) -> Denoise:
    """Adds noise and denoises it in one call of a diffusion model."""
    return Denoise(load(context, network), sigma)
