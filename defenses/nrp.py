"""NRP (Naseer et al. 2020): one pass through a network that was trained to undo perturbed features.

The network is shown images that were moved as far as they can be in the features of a classifier,
without any label (`perturb`), and learns to give back the image and its features. It knows nothing
of the classifier behind. `dynamic` noise is added before it and kept in a ball around the image.

`network=resg` is the authors' small one and `dense` their large one; both read their published
files for ImageNet, of images in [0,1] of any size. Two things differ in their code: noise alone is
where a perturbation starts, without the image, so that the first projection sends nearly every
pixel to a face of the ball; and `dynamic`'s ball is 16/255 whatever the threat is.
Their purified images are rounded to whole grey levels, ours are not.

Their training code is not published. `bench train nrp` is ours: pixels by the mean absolute error,
features by the mean square over that of images, both at once; no critic, whose adversarial loss the
paper adds; and the features are those of `twin`, the classifier of another seed, for VGG-16's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from bench.api import Context, Named, Training, defense, recipe
from bench.api.ball import ThreatModel
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits
from bench.errors import BenchError
from bench.models.nets.normalised import has_features
from bench.models.nets.nrp import NRPDense, NRPResidual
from bench.models.zoo.networks import rebuild, rebuild_as
from bench.models.zoo.weights import find
from bench.spec import Range

BALL = 16 / 255
"""Around the image, for the noise of `dynamic`."""
WEIGHTS = {"resg": "nrp", "dense": "nrp-dense"}
FEATURES = "block2.0"
"""The map of `twin` in which images are moved and compared."""
PERTURBING = 5
"""Steps of a perturbation in training; the authors take 100 of .01."""
Features = Callable[[Tensor], Tensor]


class NRP(Purifier):
    """A network's answer, clipped; its gradient is plain autograd's."""

    def __init__(self, network: Network, dynamic: float = 0.0) -> None:
        """dynamic: deviation of noise before the network."""
        super().__init__()
        self.network, self.dynamic = network, dynamic

    def forward(self, x: Tensor) -> Tensor:
        """One pass, [B,C,H,W] in [0,1] to the same."""
        if self.dynamic:
            x = (x + (self.dynamic * torch.randn_like(x)).clamp(-BALL, BALL)).clamp(0, 1)
        clean: Tensor = self.network(x)
        return clean.clamp(0, 1)


@defense(
    "nrp",
    source="Naseer et al. 2020, A Self-supervised Approach for Adversarial Robustness",
    paper="Naseer et al. 2020",
    link="https://arxiv.org/abs/2006.04924",
    groups={"competitors": ("nrp",)},
    weights=lambda settings: (WEIGHTS[str(settings["network"])],),
    calls=lambda settings: {"purifier": 1},
    idle=lambda settings: {} if settings["dynamic"] else {"runs": "dynamic=0 has no noise"},
    traits=lambda settings: Traits(
        random=float(settings["dynamic"]) > 0,
        runs=int(settings["runs"]) if float(settings["dynamic"]) > 0 else 1,
    ),
)
def nrp(
    context: Context,
    *,
    network: Literal["resg", "dense"] = "resg",
    dynamic: Annotated[float, Range(0, 1)] = 0.0,
    runs: Annotated[int, Range(1, 1000)] = 1,
) -> NRP:
    """One pass of a purifier trained against perturbed features; `dynamic=0.05` is their noise."""
    made = rebuild_as(context.weights(WEIGHTS[network]), "a purifier", NRPResidual, NRPDense)
    return NRP(context.network(made, "purifier"), dynamic)


def perturb(
    features: Features, x: Tensor, start: Tensor, *, eps: float | Tensor, step: float, steps: int
) -> Tensor:
    """Sign steps from `start` that move features away from those of x, within eps of x."""
    with torch.no_grad():
        clean = features(x)
    z = start
    for _ in range(steps):
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            apart = (features(point) - clean).square().mean()
            (g,) = torch.autograd.grad(apart, point)
        z = torch.minimum(torch.maximum(z + step * g.sign(), x - eps), x + eps).clamp(0, 1)
    return z.detach()


def _linf(info: DatasetInfo) -> float:
    """The data set's own ball, in linf."""
    balls = [ThreatModel.parse(text) for text in (info.threat, *info.threats)]
    return next((ball.eps for ball in balls if ball.norm == "linf"), 8 / 255)


def _features(dataset: str) -> Features:
    """A map of the frozen twin classifier; its file is read when it is first asked."""
    found: list[nn.Module] = []

    def features(x: Tensor) -> Tensor:
        if not found:
            found.append(rebuild(find(dataset, "twin")).to(x.device))
        network = found[0]
        if not has_features(network):
            raise BenchError(f"nrp: the twin classifier of {dataset} offers no maps")
        maps = network.features(x)
        return maps[FEATURES] if FEATURES in maps else list(maps.values())[len(maps) // 2]

    return features


@recipe("nrp")
def trained(info: DatasetInfo) -> Training:
    """Perturbed images back to clean ones; balls of up to twice the data set's own."""
    small, most = min(info.shape[1:]) < 32, 2 * _linf(info)
    features = _features(info.name)
    size = {"width": 24, "blocks": 4} if small else {"width": 64, "blocks": 23}

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        del y
        eps = most * torch.rand(len(x), 1, 1, 1, device=x.device)
        start = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        bad = perturb(features, x, start, eps=eps, step=most / 4, steps=PERTURBING)
        clean = features(x).detach()
        given: Tensor = module(bad)
        apart = (features(given) - clean).square().mean() / clean.square().mean()
        return (given - x).abs().mean() * 10 + apart

    return Training(
        network=Named("nrp-resg", {**size, "channels": info.shape[0]}, standardised=False),
        loss=loss,
        steps=800 if small else 39_000,
        batch=64,
        lr=2e-3 if small else 1e-4,
        clip=1.0,
    )
