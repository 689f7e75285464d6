"""AID-Purifier (Hwang et al. 2021), Algorithm 2: sign steps away from what looks adversarial.

A discriminator reads maps of the classifier behind (bench/models/nets/aid.py) and was trained on
that one alone: `bench train aid@madry`. It is an iterated sign, so its gradient is not exact;
attacks pass gradients on unchanged, as Croce et al. 2022 did, or follow `direction` as the joint
attack does.

Paper (the default) and published code (`variant=code`) differ: the paper's discriminator answers
the probability of an adversarial image from two branches without batch norm, on the first
convolution and the last block; the code's answers that of a clean one from four branches with
batch norms, of which two see zeros, and which two depends on the data set. The code follows the
gradient of the probability, which is exactly zero where float32 rounds it to 1: such an image
never moves. We follow the logit's in the paper's form, of the same sign wherever there is one.
The code's decimals for eps (.031 for 8/255) and its 20 steps on some data sets are typed, and its
step is always a quarter of eps, where the paper takes an eighth on CIFAR-100. Where the paper is
silent (initial values, one mixing weight per image in training) the code decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api import OWNER, ClassifierPlugin, Context, defense
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits, by_chunks
from bench.api.watch import passed
from bench.models.foreign.discriminators import discriminator
from bench.models.nets.aid import PAPER, Augment, OnClassifier, Taps, Task, Trained
from bench.models.zoo.weights import FILE
from bench.spec import Later, Range, Settings

# Patches and digits: chosen on validation images, behind `madry`
# (leaderboards/choices-<data set>.txt). The others: Table 6, of which CIFAR-10 and TinyImageNet are
# the defaults. The paper purifies with the attack's eps everywhere but on CIFAR-100 (A.4).
SETTINGS: Mapping[str, Settings] = {
    "patches": {"eps": 4 / 255},
    "digits": {"eps": 0.125},
    "svhn": {"eps": 12 / 255},
    "cifar100": {"eps": 16 / 255, "step": 1 / 8},
}
CODE = f"aid-code-{OWNER}"


def _trained(settings: Settings) -> Trained:
    taps, augment, target = (str(settings[key]) for key in Trained._fields)
    return Trained(cast(Taps, taps), cast(Augment, augment), cast(Task, target))


def _weights(settings: Settings) -> tuple[str, ...]:
    code = settings["variant"] == "code"
    return (CODE if code else f"aid{_trained(settings).suffix}-{OWNER}",)


def purify(
    toward: Callable[[Tensor], Tensor], x: Tensor, eps: float, step: float, steps: int
) -> Tensor:
    """`steps` sign steps of `step` along `toward`, within `eps` of `x` and [0,1] (Algorithm 2)."""
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    z = x
    for _ in range(steps):
        z = (z + step * toward(z).sign()).clamp(low, high)
        passed(z)
    return z


class AID(Purifier):
    """Iterative signed purification with a discriminator on the classifier's own maps."""

    def __init__(
        self,
        network: Network,
        clean: int,
        *,
        eps: float,
        step: float,
        steps: int,
        probability: bool = False,
    ) -> None:
        """network: images to logits [B,1]; clean: the sign of the logit of clean images.

        step: of eps. probability: follow the sigmoid's gradient, which may vanish in float32.
        """
        super().__init__()
        self.network, self.clean, self.probability = network, clean, probability
        self.eps, self.step, self.steps = eps, step, steps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One purification, deterministic, [B,C,H,W] in [0,1] to the same."""
        return purify(self._toward, x, self.eps, self.step * self.eps, self.steps)

    def _toward(self, z: Tensor) -> Tensor:
        """The gradient towards what the discriminator calls clean, like z."""
        return self._slope(z, torch.sigmoid if self.probability else torch.nn.Identity())

    def direction(self, x: Tensor) -> Tensor:
        """The gradient of log p_clean: down L_D of the auxiliary-aware attack (Eq. 2)."""
        return self._slope(x, F.logsigmoid)

    @torch.enable_grad()
    def _slope(self, z: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        """The gradient in z of `value` of the logit of clean images, chunk by chunk."""

        def slope(rows: slice) -> Tensor:
            point = z[rows].detach().requires_grad_()
            (g,) = torch.autograd.grad(value(self.clean * self.network(point)).sum(), point)
            return g

        return torch.cat(by_chunks(len(z), slope))


def _misfit(settings: Settings, classifier: ClassifierPlugin, info: DatasetInfo) -> str | None:
    trained = _trained(settings)
    if trained.reason:
        return f"aid: {trained.reason}"
    if trained != PAPER and settings["variant"] == "code":
        return "aid: variant=code is one discriminator; the paper's takes taps, augment and target"
    if classifier.taps(info.name) or classifier.pattern.startswith(FILE):
        return None  # of a file only the file knows
    return f"aid reads maps of the classifier, and '{classifier.name}' offers none on {info.name}"


def _calls(settings: Settings) -> dict[str, tuple[int, int]]:
    steps = int(settings["steps"])
    return {"discriminator": (steps, steps)}


@defense(
    "aid",
    source="Hwang et al. 2021, AID-Purifier",
    paper="Hwang et al. 2021",
    link="https://arxiv.org/abs/2107.06456",
    settings=SETTINGS,
    traits=lambda settings: Traits(exact=False, direction=True),
    calls=_calls,
    direction_calls=lambda settings: {"discriminator": (1, 1)},
    weights=_weights,
    misfit=_misfit,
)
def aid(
    context: Context,
    *,
    eps: Annotated[float, Range(0, 1)] = 8 / 255,
    step: Annotated[float, Range(0, 1)] = 0.25,
    steps: Annotated[int, Range(1, 1000)] = 10,
    variant: Literal["paper", "code"] = "paper",
    taps: Annotated[Taps, Later()] = "ends",
    augment: Annotated[Augment, Later()] = "avmixup",
    target: Annotated[Task, Later()] = "adversarial",
) -> AID:
    """Sign steps towards what a discriminator on the classifier's maps calls clean.

    An add-on to the classifier behind, whose weights it needs of its own. `step` is in units of
    eps; defaults are those of CIFAR-10 (Table 6). `variant=code` is the published code. `taps`,
    `augment` and `target` are discriminators that the paper compares with (Tables 14 and 15).
    """
    classifier = context.behind.module()
    trained = Trained(taps, augment, target)
    weights = context.weights(CODE if variant == "code" else f"aid{trained.suffix}-{OWNER}")
    made = discriminator(weights, classifier, context.behind.taps(), context.dataset, variant)
    return AID(
        context.network(OnClassifier(classifier, made), "discriminator"),
        made.clean,
        eps=eps,
        step=step,
        steps=steps,
        probability=variant == "code",
    )
