"""Long-run Langevin purification (Hill, Mitchell & Zhu 2021): down an energy, in noise.

x <- x - step * grad E(x) + noise * n on images in [-1,1], nothing clipped on the way. The paper
learns the energy by such walks, so that `step` and `noise`, 1 and .01, belong to its weights.

`network=igebm` is the paper's class, whose leaky ReLU makes the second derivative 0 almost
everywhere: autograd would call every step the identity, which is what BPDA assumes anyway, so it is
not declared exact. Its surrogate is the same walk, whose steps are followed back on a copy of the
network with rounded kinks (softplus in the backward pass alone): the strongest gradient that it
has, for `pgd-surrogate`. `network=smooth` is the same shape with SiLU, and its gradient is exact;
the pass through second derivatives does not end at the network's output and is not counted.

What differs from the authors' code: the vote is the mean of the softmax, theirs of the logits; the
result is clipped to [0,1]; and the weights of `smooth` are trained by denoising score matching. Its
walk is far colder than exp(-E) at temperature noise^2/2, a denoiser of many small steps rather than
a sampler; that of `igebm` is trained by contrastive divergence, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from bench.api import ClassifierPlugin, Context, defense
from bench.api.chain import Step
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits, by_chunks
from bench.models.nets.ebm import EBM, slope, softened
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings
from defenses.schedule import run

SHARPNESS = 10.0
"""Of the rounded kinks."""
WEIGHTS = {"smooth": "ebm", "igebm": "ebm-igebm"}
# Patches and digits: chosen on validation images (leaderboards/choices-<data set>.txt), at the long
# end of what a board can afford; the compact network of CIFAR-10 takes them too. The defaults are
# the paper's, 1500 steps on its own class of network and the mean of 150 runs.
SETTINGS: Mapping[str, Settings] = {
    "patches": {"network": "smooth", "steps": 40, "runs": 4},
    "digits": {"network": "smooth", "steps": 40, "runs": 4},
    "cifar10-compact": {"network": "smooth", "steps": 40, "runs": 4},
}


class Langevin(Purifier):
    """Steps down an energy in fresh noise; differentiable with the memory of one step."""

    def __init__(self, energy: Network, steps: int, step: float, noise: float) -> None:
        """`energy`: images [B,C,H,W] in [-1,1] to [B]."""
        super().__init__()
        self.energy = energy
        self.steps, self.step, self.noise = steps, step, noise

    def forward(self, x: Tensor) -> Tensor:
        """One purification, [B,C,H,W] in [0,1] to the same."""
        return run(self.chain(x), x)

    def one_step(self, x: Tensor) -> Tensor:
        """The first step of the walk."""
        return Langevin(self.energy, 1, self.step, self.noise).forward(x)

    @torch.no_grad()
    def direction(self, x: Tensor) -> Tensor:
        """Down the energy at `x`."""
        return -self.slope(2 * x - 1)

    def slope(self, x: Tensor, followed: Network | None = None) -> Tensor:
        """The energy's gradient at images in [-1,1]; activations of one chunk at a time.

        followed: an energy in its place where a gradient goes through it.
        """
        keep = torch.is_grad_enabled() and x.requires_grad
        energy = self.energy if followed is None or not keep else followed
        return torch.cat(by_chunks(len(x), lambda rows: slope(energy, x[rows]), graph=keep))

    def chain(self, x: Tensor, followed: Network | None = None) -> Iterator[Step]:
        """The steps for images like `x`, with fresh noise; `followed` as in `slope`."""

        def down(noise: Tensor) -> Step:
            return lambda z, rows: (
                z - self.step * self.slope(z, followed) + self.noise * noise[rows]
            )

        for _ in range(self.steps):
            yield down(torch.randn_like(x) if self.noise else torch.zeros_like(x))


class Kinked(Langevin):
    """Steps down an energy with kinks, of which `rounded` is the same without."""

    def __init__(
        self, energy: Network, steps: int, step: float, noise: float, *, rounded: Network
    ) -> None:
        """Both: images [B,C,H,W] in [-1,1] to [B]."""
        super().__init__(energy, steps, step, noise)
        self.rounded = rounded

    def surrogate(self, x: Tensor) -> Tensor:
        """The same walk; its gradient is that of `rounded` at the same images."""
        return run(self.chain(x, followed=self.rounded), x)


def _traits(settings: Settings) -> Traits:
    noisy = float(settings["noise"]) > 0
    runs, smooth = int(settings["runs"]) if noisy else 1, settings["network"] == "smooth"
    return Traits(
        random=noisy, exact=smooth, direction=True, surrogate=not smooth, one_step=True, runs=runs
    )


def _calls(settings: Settings) -> dict[str, tuple[int, int]]:
    steps = int(settings["steps"])
    return {"energy": (steps, steps)}


def _misfit(settings: Settings, classifier: ClassifierPlugin, info: DatasetInfo) -> str | None:
    del settings, classifier
    _, height, width = info.shape
    if height != width or height < 8 or height & (height - 1):
        return f"langevin's network halves images down to 4x4, which {height}x{width} does not do"
    return None


@defense(
    "langevin",
    source="Hill, Mitchell & Zhu 2021, Stochastic Security",
    paper="Hill et al. 2021",
    link="https://arxiv.org/abs/2005.13525",
    settings=SETTINGS,
    traits=_traits,
    idle=lambda settings: {} if settings["noise"] else {"runs": "noise=0 has none"},
    calls=_calls,
    gradient_calls=_calls,
    surrogate_calls=lambda settings: {n: (2 * f, 2 * b) for n, (f, b) in _calls(settings).items()},
    direction_calls=lambda settings: {"energy": (1, 1)},
    weights=lambda settings: (WEIGHTS[str(settings["network"])],),
    misfit=_misfit,
)
def langevin(
    context: Context,
    *,
    steps: Annotated[int, Range(1, 100000)] = 1500,
    step: Annotated[float, Range(0, 1e6)] = 1.0,
    noise: Annotated[float, Range(0, 1)] = 0.01,
    runs: Annotated[int, Range(1, 1000)] = 150,
    network: Literal["igebm", "smooth"] = "igebm",
) -> Langevin:
    """Long-run Langevin sampling on an energy-based model, started at the image."""
    energy = rebuild_as(context.weights(WEIGHTS[network]), "an energy model", EBM)
    walked = context.network(energy, "energy")
    if network == "smooth":
        return Langevin(walked, steps, step, noise)
    rounded = context.network(softened(energy, SHARPNESS), "energy")
    return Kinked(walked, steps, step, noise, rounded=rounded)
