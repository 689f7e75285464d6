"""Fast gradient sign methods from torchattacks, as they are: FGSM, BIM, VMI-FGSM, Jitter.

The library is imported when one of them runs. It sees a defense as in `attacks/library.py`: as the
mean logits of `eot` runs, with BPDA's gradient or the exact one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn

from attacks.apgd import following, follows_of, knows_of, no_gradient
from attacks.family import Count, Share, Step
from attacks.gradients import draws_of
from attacks.library import GradientMode, View, quiet, straight_through
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits, repeat
from bench.facts import BUDGET
from bench.spec import Range, Settings

QUICK = {"quick": {"eot": 5}}
SOFTWARE = ("torchattacks",)


class Mean(nn.Module):
    """The mean logits [B,K] of `draws` runs of a view.

    A library's neighbours of an image may lie outside of [0,1]; the view is shown the nearest image
    and the gradient passes. The parameter is where the library looks for the device.
    """

    def __init__(self, view: View, draws: int, device: torch.device) -> None:
        super().__init__()
        self.view, self.draws = view, draws
        self.device = nn.Parameter(torch.empty(0, device=device), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits of images x [B,C,H,W]."""
        # A library that divides by an all-zero gradient goes on with NaN.
        inside = straight_through(x, x.detach().nan_to_num(0.5).clamp(0, 1))
        logits: Tensor = self.view(repeat(inside, self.draws))
        return logits.view(self.draws, len(x), -1).mean(0)


@dataclass(frozen=True)
class Library:
    """The attack `name` of torchattacks with its own keyword `arguments`.

    scaled: arguments in units of eps. An image that the library loses to NaN stays as it is.
    """

    name: str
    eot: int = 15
    gradient: GradientMode = "bpda"
    arguments: Mapping[str, float] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Points in the linf ball around images x [B,C,H,W] in [0,1]."""
        import torchattacks

        draws = draws_of(self.eot, defense.random)
        model = Mean(View(defense, self.gradient), draws, x.device).eval()
        scaled = {key: share * threat.eps for key, share in self.scaled.items()}
        method = getattr(torchattacks, self.name)
        with quiet(), torch.enable_grad():
            found = method(model, eps=threat.eps, **scaled, **self.arguments)(x, y).detach()
        return Attacked(threat.project(torch.where(found.isnan(), x, found), x))


def _each_step(settings: Settings, traits: Traits) -> Runs:
    return following(int(settings["steps"]), settings, traits)


def _around(settings: Settings, traits: Traits) -> Runs:
    """One look at the point and one at each neighbour."""
    looks = int(settings["steps"]) * (1 + int(settings["neighbours"]))
    return following(looks, settings, traits)


@attack(
    "fgsm",
    paper="Goodfellow et al. 2015",
    link="https://arxiv.org/abs/1412.6572",
    norms=("linf",),
    software=SOFTWARE,
    settings=QUICK,
    skip=no_gradient,
    cost=lambda settings, traits: following(1, settings, traits),
    knows=knows_of,
    follows=follows_of,
)
def fgsm(*, eot: Count = 15, gradient: GradientMode = "bpda") -> Library:
    """One step of eps along the gradient's sign."""
    return Library("FGSM", eot, gradient)


@attack(
    "bim",
    source="Kurakin et al. 2017; the library's 10 steps of eps/4",
    paper="Kurakin et al. 2017",
    link="https://arxiv.org/abs/1607.02533",
    norms=("linf",),
    software=SOFTWARE,
    settings=QUICK,
    skip=no_gradient,
    cost=_each_step,
    knows=knows_of,
    follows=follows_of,
)
def bim(
    *, steps: Count = 10, step: Step = 0.25, eot: Count = 15, gradient: GradientMode = "bpda"
) -> Library:
    """Short steps along the sign of the gradient of mean logits."""
    return Library("BIM", eot, gradient, {"steps": steps}, {"alpha": step})


@attack(
    "vmi-fgsm",
    source="Wang & He 2021: 10 steps of eps/10, 20 neighbours within 1.5 eps",
    paper="Wang & He 2021",
    link="https://arxiv.org/abs/2103.15571",
    norms=("linf",),
    software=SOFTWARE,
    settings={"quick": {"eot": 5, "neighbours": 5}, "standard": {"eot": 5, "neighbours": 5}},
    skip=no_gradient,
    cost=_around,
    knows=knows_of,
    follows=follows_of,
    budget=(*BUDGET, "neighbours"),
)
def vmi_fgsm(
    *,
    steps: Count = 10,
    step: Step = 0.1,
    decay: Share = 1.0,
    neighbours: Count = 20,
    reach: Annotated[float, Range(0)] = 1.5,
    eot: Count = 15,
    gradient: GradientMode = "bpda",
) -> Library:
    """Momentum along gradients that are corrected by those of the neighbourhood."""
    settings = {"steps": steps, "decay": decay, "N": neighbours, "beta": reach}
    return Library("VMIFGSM", eot, gradient, settings, {"alpha": step})


@attack(
    "jitter",
    source="Schwinn et al. 2023; the library's 10 steps of eps/4, scale 10, noise .1",
    paper="Schwinn et al. 2023",
    link="https://arxiv.org/abs/2105.10304",
    norms=("linf",),
    software=SOFTWARE,
    settings=QUICK,
    skip=no_gradient,
    cost=_each_step,
    knows=knows_of,
    follows=follows_of,
)
def jitter(
    *,
    steps: Count = 10,
    step: Step = 0.25,
    scale: Annotated[float, Range(0)] = 10.0,
    noise: Annotated[float, Range(0)] = 0.1,
    random_start: bool = True,
    eot: Count = 15,
    gradient: GradientMode = "bpda",
) -> Library:
    """Squared error of rescaled, noisy probabilities: a loss that large logits do not mask."""
    settings = {"steps": steps, "scale": scale, "std": noise, "random_start": random_start}
    return Library("Jitter", eot, gradient, settings, {"alpha": step})
