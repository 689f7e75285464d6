"""Defense-GAN (Samangouei et al. 2018): the nearest image that a generator can make.

From `starts` random z, `steps` of gradient descent with momentum on |G(z) - x|^2 (its mean over
pixels); the image of the z that ends nearest is classified. The gradient goes through all of the
descent, with second derivatives of the generator; which start wins is a constant in it. The
authors' own attack passes gradients on unchanged, as BPDA does.

Paper and ours: the rate is constant (theirs falls on the way), and the loss is each image's own,
where the authors' code takes the mean of a whole batch, so that a rate of theirs is one of as many
times less per image.

Their weights are of TensorFlow and are not read. `bench train defense-gan` is a WGAN with gradient
penalty, smaller, with smooth activations in the generator; critic and generator move together,
where the paper's critic takes five steps for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from bench.api import Context, Named, Training, defense, recipe
from bench.api.chain import Step, chain
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits, by_chunks
from bench.models.nets.wgan import WGAN
from bench.models.zoo.networks import rebuild_as
from bench.spec import Range, Settings

PENALTY = 10.0
"""Of the critic's gradient (Gulrajani et al. 2017)."""
# Of 64 validation images of digits 88 % stay right at these, 48 at 40 steps of 10 from 2 starts. On
# patches nothing helps: the generator makes no photograph, and 15 % stay right.
OURS: Settings = {"steps": 50, "starts": 4, "lr": 50.0}
SETTINGS: Mapping[str, Settings] = {"patches": OURS, "digits": OURS}


class DefenseGAN(Purifier):
    """A descent on latent vectors; differentiable with the memory of one step."""

    def __init__(
        self,
        generator: Network,
        latent: int,
        *,
        steps: int,
        starts: int,
        lr: float,
        momentum: float,
    ) -> None:
        """`generator`: [B,latent] to images [B,C,H,W] in [0,1]."""
        super().__init__()
        self.generator, self.latent = generator, latent
        self.steps, self.starts, self.lr, self.momentum = steps, starts, lr, momentum

    def forward(self, x: Tensor) -> Tensor:
        """One purification, [B,C,H,W] in [0,1] to the same."""
        z = torch.randn(len(x), self.starts * self.latent, dtype=x.dtype, device=x.device)
        start = torch.cat([z, torch.zeros_like(z), x.flatten(1)], 1)
        size = x[0].numel()
        end = chain(self.walk(x), start, lambda state: state[:, -size:].view(-1, *x.shape[1:]))
        return end.view_as(x)

    def walk(self, x: Tensor) -> Iterator[Step]:
        """The steps for images like x; a state is z of every start, their velocities, the image."""
        wide = self.starts * self.latent

        def parts(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return state[:, :wide], state[:, wide : 2 * wide], state[:, 2 * wide :]

        def down(state: Tensor, rows: slice) -> Tensor:
            del rows
            z, velocity, given = parts(state)
            velocity = self.momentum * velocity - self.lr * self.slope(z, given)
            return torch.cat([z + velocity, velocity, given], 1)

        def nearest(state: Tensor, rows: slice) -> Tensor:
            del rows
            z, _, given = parts(state)
            images, far = self.errors(z, given)
            return images[torch.arange(len(far), device=far.device), far.argmin(1)]

        for _ in range(self.steps):
            yield down
        yield nearest

    def errors(self, z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """What is made of z [B,starts*latent], [B,starts,pixels], and how far it is, [B,starts]."""
        made: Tensor = self.generator(z.reshape(-1, self.latent))
        images = made.reshape(len(z), self.starts, -1)
        return images, (images - given[:, None]).square().mean(2)

    def slope(self, z: Tensor, given: Tensor) -> Tensor:
        """The gradient of all errors in z, like z; differentiable itself in a backward pass."""
        keep = torch.is_grad_enabled() and z.requires_grad

        def of(rows: slice) -> Tensor:
            with torch.enable_grad():
                point = z[rows] if keep else z[rows].detach().requires_grad_()
                far = self.errors(point, given[rows])[1].sum()
                (found,) = torch.autograd.grad(far, point, create_graph=keep)
            return found

        return torch.cat(by_chunks(len(z), of, graph=keep))


def _calls(settings: Settings) -> dict[str, tuple[int, int]]:
    starts = int(settings["starts"])
    walked = int(settings["steps"]) * starts
    return {"generator": (walked + starts, walked)}


def _gradient_calls(settings: Settings) -> dict[str, tuple[int, int]]:
    ((forwards, backwards),) = _calls(settings).values()
    return {"generator": (forwards, backwards + forwards)}


@defense(
    "defense-gan",
    source="Samangouei et al. 2018, Defense-GAN",
    paper="Samangouei et al. 2018",
    link="https://arxiv.org/abs/1805.06605",
    groups={"competitors": ("defense-gan",)},
    settings=SETTINGS,
    traits=lambda settings: Traits(random=True),
    calls=_calls,
    gradient_calls=_gradient_calls,
    weights=lambda settings: ("defense-gan",),
)
def defense_gan(
    context: Context,
    *,
    steps: Annotated[int, Range(0, 100_000)] = 200,
    starts: Annotated[int, Range(1, 1000)] = 10,
    lr: Annotated[float, Range(0, 1e6)] = 10.0,
    momentum: Annotated[float, Range(0, 1)] = 0.7,
) -> DefenseGAN:
    """The image of a generator that a descent from random starts brings nearest."""
    made = rebuild_as(context.weights("defense-gan"), "a generator", WGAN)
    generator = context.network(made, "generator")
    return DefenseGAN(generator, made.latent, steps=steps, starts=starts, lr=lr, momentum=momentum)


class _Against(torch.autograd.Function):
    """The identity with its gradient turned round: what the critic lowers, the generator raises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The critic's loss with its penalty; the generator climbs its part of it."""
    del y
    assert isinstance(module, WGAN)
    made: Tensor = module(torch.randn(len(x), module.latent, device=x.device))
    against: Tensor = _Against.apply(made)
    share = torch.rand(len(x), 1, 1, 1, device=x.device)
    between = (share * x + (1 - share) * made.detach()).requires_grad_()
    (g,) = torch.autograd.grad(module.judged(between).sum(), between, create_graph=True)
    penalty = (g.flatten(1).norm(dim=1) - 1).square().mean()
    apart: Tensor = module.judged(against).mean() - module.judged(x).mean() + PENALTY * penalty
    return apart


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Root mean squared error, in grey levels, of the nearest images that 100 steps find."""
    del y
    assert isinstance(module, WGAN)
    z = torch.randn(len(x[:128]), module.latent)
    optimizer = torch.optim.Adam([z.requires_grad_()], 0.1)
    for _ in range(100):
        off = (module(z) - x[:128]).square().flatten(1).mean(1)
        optimizer.zero_grad()
        torch.autograd.backward(off.sum())
        optimizer.step()
    return {"rmse/255": round(255 * off.detach().mean().sqrt().item(), 1)}


@recipe("defense-gan")
def trained(info: DatasetInfo) -> Training:
    """A small WGAN with gradient penalty."""
    small = min(info.shape[1:]) < 32
    side = info.shape[1]
    stages = 2 if side % 8 or small else 3
    size = {"width": 16, "latent": 64} if small else {"width": 64, "latent": 128}
    arguments = {**size, "channels": info.shape[0], "side": side, "stages": stages}
    return Training(
        network=Named("wgan", arguments, standardised=False),
        loss=_loss,
        steps=2000 if small else 200_000,
        batch=64,
        lr=1e-3 if small else 1e-4,
        schedule="cosine",
        ema=0.99 if small else 0.999,
        merit=_merit,
        half=small,
    )
