"""DISCO (Ho & Vasconcelos 2022): every pixel anew, from the features of those around it.

A network of local features and a perceptron (bench/models/nets/disco.py), trained to give clean
images back from attacked ones. `passes` is the paper's cascade, one network over and over. The
gradient is plain autograd's; the paper's strongest attack on it is BPDA.

`bench train disco` is the paper's recipe, smaller: PGD on a classifier, of which the purifier shall
know nothing else (`twin`, the one of another seed, where the paper has a ResNet-18), and the mean
absolute error; with balls of up to twice the data set's own and fewer steps.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, defense, recipe
from bench.api.ball import ThreatModel
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits
from bench.models.nets.disco import Disco
from bench.models.zoo.networks import rebuild, rebuild_as
from bench.models.zoo.weights import find
from bench.spec import Range

ATTACKED = 4
"""Steps of an attack in training."""


class DISCO(Purifier):
    """A network's answer, clipped, as often as asked."""

    def __init__(self, network: Network, passes: int) -> None:
        """network: [B,C,H,W] in [0,1] to the same, not clipped."""
        super().__init__()
        self.network, self.passes = network, passes

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] to the same."""
        for _ in range(self.passes):
            x = self.network(x).clamp(0, 1)
        return x


@defense(
    "disco",
    source="Ho & Vasconcelos 2022, DISCO: Adversarial Defense with Local Implicit Functions",
    paper="Ho & Vasconcelos 2022",
    link="https://arxiv.org/abs/2212.05630",
    groups={"competitors": ("disco",)},
    weights=lambda settings: ("disco",),
    calls=lambda settings: {"purifier": int(settings["passes"])},
    traits=lambda settings: Traits(),
)
def disco(context: Context, *, passes: Annotated[int, Range(1, 100)] = 1) -> DISCO:
    """Each pixel anew from local features, by a network trained on attacked images."""
    made = rebuild_as(context.weights("disco"), "a purifier", Disco)
    return DISCO(context.network(made, "purifier"), passes)


def attacked(classifier: nn.Module, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
    """Images after sign steps up the cross-entropy within linf balls of radius eps [B,1,1,1]."""
    z = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(ATTACKED):
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(classifier(point), y), point)
        z = torch.minimum(torch.maximum(z + eps / 2 * g.sign(), x - eps), x + eps).clamp(0, 1)
    return z.detach()


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Root mean squared error of clean images in grey levels."""
    del y
    with torch.no_grad():
        return {"rmse/255": round(255 * F.mse_loss(module(x), x).sqrt().item(), 2)}


@recipe("disco")
def trained(info: DatasetInfo) -> Training:
    """From attacked images to clean ones."""
    small = min(info.shape[1:]) < 32
    balls = [ThreatModel.parse(text) for text in (info.threat, *info.threats)]
    most = 2 * next((ball.eps for ball in balls if ball.norm == "linf"), 8 / 255)
    victims: list[nn.Module] = []

    def loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not victims:
            victims.append(rebuild(find(info.name, "twin")).to(x.device))
        eps = most * torch.rand(len(x), 1, 1, 1, device=x.device)
        again: Tensor = module(attacked(victims[0], x, y, eps))
        return (again - x).abs().mean()

    size = {"width": 16, "blocks": 3, "hidden": 32} if small else {}
    return Training(
        network=Named("disco", {**size, "channels": info.shape[0]}, standardised=False),
        loss=loss,
        steps=400 if small else 78_000,
        batch=64,
        lr=3e-3 if small else 1e-4,
        clip=1.0,
        merit=_merit,
        half=small,
    )
