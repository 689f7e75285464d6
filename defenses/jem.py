"""JEM (Grathwohl et al. 2020): a classifier whose logits are an energy, and steps down that energy.

E(x) = -logsumexp of the logits of the classifier behind. An image in [-1,1] gets noise of `start`
and `steps` times x <- x - step grad E(x) + noise n, and its class is that of `runs` such chains.
It is the walk of `langevin` on the classifier's own energy, on any classifier; JEM's own (`@jem`)
was trained for both.

What differs from the authors' code: the vote is the mean of the softmax, theirs of the logits; the
end of a chain is clipped to [0,1], which nothing is on its way; their attack passes gradients on
unchanged (`bpda-eot`). Where activations have kinks a step jumps, so that autograd through the
steps is no exact gradient; it is the surrogate (`pgd-surrogate`). The authors add
`start` to all images, so `none@jem` without it is not their JEM-0; `steps=0` is.

`bench train jem` is ours for small images: cross-entropy, and the energies of images against those
of short walks that start beside other images, where the authors' start in a buffer of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, classifier, defense, recipe
from bench.api.chain import Step
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Traits
from bench.models.nets.ebm import slope
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import rebuild
from bench.spec import Range, Settings
from defenses.langevin import Langevin

# A step of 1 belongs to the authors' weights; our small network is left with nothing by it. Chosen
# on 64 validation images of patches, 8 of each class: clean 50 and blind PGD 22 % at .03 (67 and 5
# at .01, 44 and 25 at .05, for a bare 70 and 2). digits take the same.
OURS: Settings = {"steps": 10, "step": 0.03}
SETTINGS: Mapping[str, Settings] = {"patches": OURS, "digits": OURS}
WALK = 10
"""Steps of a walk while `jem` is trained here."""
SPREAD = 0.1
"""Of the noise beside an image at which such a walk starts, in [-1,1]."""


class JEM(Langevin):
    """Noise, then the walk of `langevin` up the classifier's log density."""

    def __init__(
        self, energy: Network, steps: int, *, step: float, noise: float, start: float
    ) -> None:
        """`energy`: images [B,C,H,W] in [-1,1] to [B]."""
        super().__init__(energy, steps, step, noise)
        self.begin = start

    def surrogate(self, x: Tensor) -> Tensor:
        """The chain itself, through which autograd goes."""
        return self.forward(x)

    def one_step(self, x: Tensor) -> Tensor:
        """The noise and the first step."""
        few = min(1, self.steps)
        first = JEM(self.energy, few, step=self.step, noise=self.noise, start=self.begin)
        return first.forward(x)

    def chain(self, x: Tensor, followed: Network | None = None) -> Iterator[Step]:
        """The steps for images like `x`, with fresh noise."""

        def noisy(n: Tensor) -> Step:
            return lambda z, rows: z + self.begin * n[rows]

        if self.begin:
            yield noisy(torch.randn_like(x))
        yield from super().chain(x, followed)


def _traits(settings: Settings) -> Traits:
    steps = int(settings["steps"])
    random = float(settings["start"]) > 0 or (steps > 0 and float(settings["noise"]) > 0)
    runs = int(settings["runs"]) if random else 1
    return Traits(
        random=random, exact=False, direction=True, surrogate=True, one_step=True, runs=runs
    )


def _idle(settings: Settings) -> dict[str, str]:
    still = dict.fromkeys(("step", "noise"), "steps=0 takes none")
    idle = {} if int(settings["steps"]) else still
    return idle if _traits(settings).random else {**idle, "runs": "there is no noise"}


def _calls(settings: Settings) -> dict[str, tuple[int, int]]:
    steps = int(settings["steps"])
    return {"energy": (steps, steps)}


@defense(
    "jem",
    source="Grathwohl et al. 2020, Your Classifier is Secretly an Energy Based Model",
    paper="Grathwohl et al. 2020",
    link="https://arxiv.org/abs/1912.03263",
    groups={"competitors": ("jem@jem",)},
    settings=SETTINGS,
    traits=_traits,
    idle=_idle,
    calls=_calls,
    gradient_calls=_calls,
    surrogate_calls=lambda settings: {n: (2 * f, 2 * b) for n, (f, b) in _calls(settings).items()},
    direction_calls=lambda settings: {"energy": (1, 1)},
)
def jem(
    context: Context,
    *,
    steps: Annotated[int, Range(0, 10_000)] = 1,
    step: Annotated[float, Range(0, 1e6)] = 1.0,
    noise: Annotated[float, Range(0, 1)] = 0.01,
    start: Annotated[float, Range(0, 1)] = 0.03,
    runs: Annotated[int, Range(1, 1000)] = 5,
) -> JEM:
    """Langevin steps on the energy that the classifier behind is itself (JEM-k: `steps=k`)."""
    behind = context.behind.module()

    def energy(x: Tensor) -> Tensor:
        return -density(behind, (x + 1) / 2)

    network = context.network(behind, "energy", energy)
    return JEM(network, steps, step=step, noise=noise, start=start)


def density(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The logarithm of p(x) and a constant, [B], of what gives logits."""
    value: Tensor = module(x).logsumexp(1)
    return value


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, and how much likelier images are than the ends of walks."""
    logits: Tensor = module(x + 0.015 * torch.randn_like(x))
    z = (x.flip(0) + SPREAD / 2 * torch.randn_like(x)).detach()
    for _ in range(WALK):
        z = z - slope(lambda z: -density(module, z), z) / 4 + 0.005 * torch.randn_like(z)
    ends, images = density(module, z.detach()), logits.logsumexp(1)
    apart = ends.mean() - images.mean()
    size = (ends.square().mean() + images.square().mean()) / 10
    return F.cross_entropy(logits, y) + apart + size


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """The percentage that is right, and how much likelier images are than noisy ones."""
    with torch.no_grad():
        logits = module(x)
        noisy = module(x + SPREAD / 2 * torch.randn_like(x)).logsumexp(1)
    right = (logits.argmax(1) == y).float().mean().item()
    gap = (logits.logsumexp(1) - noisy).mean().item()
    return {"clean": round(100 * right, 1), "gap": round(gap, 2)}


@recipe("jem")
def trained(info: DatasetInfo) -> Training:
    """On small images a small network; else the paper's length, from other starts than its own."""
    small = min(info.shape[1:]) < 32
    size = {"depth": 10, "widen": 1, "stem_stride": 2} if small else {"depth": 28, "widen": 10}
    classes, channels = len(info.classes), info.shape[0]
    return Training(
        network=Named("jem", {**size, "classes": classes, "channels": channels}),
        loss=_loss,
        steps=1000 if small else 140_600,
        batch=64,
        lr=1e-3 if small else 1e-4,
        clip=1.0,
        ema=0.99 if small else 0.0,
        merit=_merit,
    )


@classifier(
    "jem",
    paper="Grathwohl et al. 2020",
    link="https://arxiv.org/abs/1912.03263",
    weights=lambda settings: ("jem",),
)
def of_jem(context: Context) -> nn.Module:
    """JEM's WideResNet without normalisation, which is an energy too; of images in [-1,1]."""
    made = rebuild(context.weights("jem"))
    if isinstance(made, Normalised):
        return made
    half = (0.5,) * context.shape[0]
    return Normalised(made, half, half)
