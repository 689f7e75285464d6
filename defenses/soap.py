"""SOAP (Shi et al. 2021): steps down a self-supervised loss that the classifier was trained on too.

For each of the radii 0, 1, ... 10 times `delta` a few sign steps lower the loss within that radius
of the image; of the eleven ends the one of the least loss is classified. The loss is that of the
classifier behind: its logits of the image and of one fixed view (mirrored, cropped, resized) should
agree (`task=consistency`), or its second head tells turns of the image (`rotation`) or makes the
image again (`reconstruction`). `@soap` was trained for consistency; `@file:` takes the published
networks of all three tasks.

Paper and published code differ: the code takes the mean loss of the whole batch and so one radius
for all of it; here, as in the paper, each image has its own. `method=fgsm` and `noise` are the
code's variants: one step of the whole radius, or noise of that size. The code's views in training
are kept (`views`): its noise is never negative, and its second view is always the fixed one. Views
are cropped in the proportions of 32 pixels. Sizes of steps on 28 pixels are the code's .1.

On a GPU PyTorch sent the gradient of nearest-neighbour upsampling to wrong pixels, from 1.2 to June
2020 (pytorch issue 38985, pull request 39055); Croce et al. ran the authors' code on 1.4.
`upsampling=torch-1.4` is that gradient: its steps lower the loss in another way, which leaves far
more right under an attack that knows no purifier.

A sign step's derivative is 0, so that autograd through the loop is the identity wherever nothing is
clipped: BPDA is its exact gradient, and no other is declared. What an attack can do besides is to
keep the loss low (`auxiliary`, `joint-score`). Croce et al. 2022 broke it by BPDA averaged over the
images on the way, in 1,000 iterations of APGD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, classifier, defense, recipe
from bench.api.images import DatasetInfo
from bench.api.purifier import Network, Purifier, Traits, by_chunks
from bench.api.watch import passed
from bench.errors import BenchError
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import rebuild
from bench.spec import Later, Range, Settings

RADII = 10
"""How many radii are tried besides 0."""
VIEWS = {"consistency": 2, "rotation": 4, "reconstruction": 1}
"""Images that a network sees for one loss."""
NOISE = 0.1
"""Of the first view in training."""
GREY: Settings = {"delta": 0.1, "step": 0.1}
Upsampling = Literal["right", "torch-1.4"]
"""Whose gradient of nearest-neighbour upsampling."""
Loss = Callable[[Tensor], Tensor]
"""Images [B,C,H,W] to [B]."""


def fixed_view(x: Tensor, upsampling: Upsampling = "right") -> Tensor:
    """Mirrored, without a sixteenth of the image on each side, and as large again."""
    height, width = x.shape[2:]
    top, left = height // 16, width // 16
    inner = x.flip(3)[:, :, top : height - top, left : width - left]
    enlarged = F.interpolate(inner, (height, width))
    return enlarged if upsampling == "right" else misled(enlarged, inner)


def misled(enlarged: Tensor, x: Tensor) -> Tensor:
    """The values of `enlarged` with the gradient in x that PyTorch 1.4 had on a GPU.

    Pixel d of n got the gradients of the m new ones from floor(d m / n) to before
    floor((d + 1) m / n), in place of those that were copied from it, which begin at the ceiling.
    """

    def sources(n: int, m: int) -> list[int]:
        return [d for d in range(n) for _ in range(d * m // n, (d + 1) * m // n)]

    rows, columns = (sources(x.shape[i], enlarged.shape[i]) for i in (2, 3))
    told = x[:, :, rows][..., columns]
    return told + (enlarged - told).detach()


def consistency(network: Callable[[Tensor], Tensor], upsampling: Upsampling = "right") -> Loss:
    """How far the logits of an image are from those of its fixed view."""

    def loss(x: Tensor) -> Tensor:
        one, two = network(torch.cat([x, fixed_view(x, upsampling)])).chunk(2)
        return (one - two).square().mean(1)

    return loss


def turned(x: Tensor) -> Tensor:
    """By 0, 90 (clockwise), 180, 270 degrees: [4B,C,H,W], all images by one angle first."""
    return torch.cat([x.rot90(-quarter, (2, 3)) for quarter in range(4)])


def rotation(head: Callable[[Tensor], Tensor]) -> Loss:
    """How far the softmax over four angles is from the right ones."""

    def loss(x: Tensor) -> Tensor:
        told = head(turned(x)).softmax(1).view(4, len(x), 4)
        right = torch.eye(4, dtype=told.dtype, device=told.device)[:, None]
        return (told - right).square().mean((0, 2))

    return loss


def reconstruction(decoder: Callable[[Tensor], Tensor]) -> Loss:
    """How far an image is from what is made of its code."""
    return lambda x: (decoder(x) - x).square().flatten(1).mean(1)


TASKS: dict[str, Callable[[Callable[[Tensor], Tensor]], Loss]] = {
    "consistency": consistency,
    "rotation": rotation,
    "reconstruction": reconstruction,
}


@torch.enable_grad()
def slope(loss: Loss, x: Tensor) -> Tensor:
    """The loss's gradient in each image, chunk by chunk."""

    def of(rows: slice) -> Tensor:
        point = x[rows].detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(point).sum(), point)
        return g

    return torch.cat(by_chunks(len(x), of))


def descend(loss: Loss, x: Tensor, radii: Tensor, step: float, steps: int) -> Tensor:
    """For each radius [R] the displacement of x after sign steps within it, [R,B,C,H,W]."""
    start = x.repeat(len(radii), 1, 1, 1)
    most = radii.repeat_interleave(len(x)).view(-1, 1, 1, 1)
    moved = torch.zeros_like(start)
    for _ in range(steps):
        moved = moved - step * slope(loss, start + moved).sign()
        moved = (start + moved.clamp(-most, most)).clamp(0, 1) - start
        passed((start + moved)[-len(x) :])
    return moved.view(len(radii), *x.shape)


def chosen(losses: Tensor, ends: Tensor) -> Tensor:
    """Of ends [R,B,C,H,W] the first one of the least loss [R,B] for each image."""
    best = (losses == losses.min(0).values).int().argmax(0)
    return ends[best, torch.arange(ends.shape[1], device=ends.device)]


class SOAP(Purifier):
    """The end of least loss among those that each radius reaches."""

    def __init__(
        self,
        loss: Loss,
        delta: float,
        step: float,
        steps: int,
        *,
        method: str = "pgd",
        network: Network | None = None,
    ) -> None:
        """method: pgd, fgsm or noise. network: what `loss` asks, whose calls count."""
        super().__init__()
        self.loss, self.method, self.network = loss, method, network
        self.delta, self.step, self.steps = delta, step, steps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One purification, [B,C,H,W] in [0,1] to the same."""
        ends = self.ends(x)
        losses = self.loss(ends.flatten(0, 1)).view(len(ends), len(x))
        end = chosen(losses, ends)
        passed(end)
        return end

    def ends(self, x: Tensor) -> Tensor:
        """The image itself and where each radius leads, [1 + RADII,B,C,H,W]."""
        radii = self.delta * torch.arange(1, RADII + 1, dtype=x.dtype, device=x.device)
        if self.method == "pgd":
            moved = descend(self.loss, x, radii, self.step, self.steps)
        else:
            shape = (RADII, *x.shape)
            noise = self.method == "noise"
            way = torch.randn(shape, dtype=x.dtype).to(x.device) if noise else None
            way = -slope(self.loss, x).sign() if way is None else way
            moved = radii.view(-1, 1, 1, 1, 1) * way
        return torch.cat([x[None], (x + moved).clamp(0, 1)])

    def direction(self, x: Tensor) -> Tensor:
        """Down the self-supervised loss at x."""
        return -slope(self.loss, x)


def _calls(settings: Settings) -> dict[str, tuple[int, int]]:
    views = VIEWS[str(settings["task"])]
    gradients = {"pgd": RADII * int(settings["steps"]), "fgsm": 1, "noise": 0}
    n = gradients[str(settings["method"])]
    return {"auxiliary": ((n + RADII + 1) * views, n * views)}


def _idle(settings: Settings) -> dict[str, str]:
    task, method, found = settings["task"], settings["method"], dict[str, str]()
    if method != "pgd":
        found |= dict.fromkeys(("step", "steps"), f"method={method} takes no such steps")
    if task != "consistency":
        found["upsampling"] = f"task={task} enlarges no view"
    elif method == "noise":
        found["upsampling"] = "method=noise asks no gradient"
    return found


def _head(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The second head of a classifier on images in [0,1]."""
    inside = module.network if isinstance(module, Normalised) else module
    found = getattr(inside, "auxiliary", None)
    if not callable(found):
        raise BenchError(
            "soap: the classifier behind has no second head (task=consistency needs none)"
        )
    head: Callable[[Tensor], Tensor] = found
    if not isinstance(module, Normalised):
        return head
    layer = module
    return lambda x: head((x - layer.mean) / layer.std)


@defense(
    "soap",
    source="Shi et al. 2021, Online Adversarial Purification based on Self-Supervision",
    paper="Shi et al. 2021",
    link="https://arxiv.org/abs/2101.09387",
    groups={"competitors": ("soap@soap",)},
    settings={"digits": GREY, "mnist": GREY, "fashionmnist": GREY},
    traits=lambda settings: Traits(
        random=settings["method"] == "noise", exact=False, direction=True
    ),
    idle=_idle,
    calls=_calls,
    direction_calls=lambda settings: {"auxiliary": (VIEWS[str(settings["task"])],) * 2},
)
def soap(
    context: Context,
    *,
    delta: Annotated[float, Range(1e-6, 1)] = 4 / 255,
    step: Annotated[float, Range(1e-6, 1)] = 4 / 255,
    steps: Annotated[int, Range(1, 1000)] = 5,
    task: Literal["consistency", "rotation", "reconstruction"] = "consistency",
    method: Literal["pgd", "fgsm", "noise"] = "pgd",
    upsampling: Annotated[Upsampling, Later()] = "right",
) -> SOAP:
    """Sign steps down a self-supervised loss of the classifier behind, the radius by its minimum.

    Radii are 0 to 10 times `delta`, `step` is the length of a step, and `steps` are taken for each.
    upsampling: the gradient of the views, the right one or that of PyTorch 1.4 on a GPU.
    """
    module = context.behind.module()
    call = None if task == "consistency" else _head(module)
    network: Network = context.network(module, "auxiliary", call)
    made = consistency(network, upsampling) if task == "consistency" else TASKS[task](network)
    return SOAP(made, delta, step, steps, method=method, network=network)


def views(x: Tensor, noise: Tensor, flip: bool, box: tuple[int, int, int, int]) -> Tensor:
    """The two views in training, [2B,C,H,W], of images and standard normal noise.

    box: top, left, height and width of the first view, before it is as large as the image again.
    """
    noisy = x + (NOISE * noise).clamp(0, 1)
    first = noisy.flip(3) if flip else noisy
    top, left, height, width = box
    first = F.interpolate(first[:, :, top : top + height, left : left + width], x.shape[2:])
    return torch.cat([first, fixed_view(noisy)])


def _random_views(x: Tensor) -> Tensor:
    """With the draws of one batch, sizes in proportion to 32 pixels."""

    def side(size: int) -> tuple[int, int]:
        start = int(torch.randint(size // 4, ()))
        return start, int(torch.randint(3 * size // 4, size - start + 1, ()))

    (top, height), (left, width) = side(x.shape[2]), side(x.shape[3])
    flip = float(torch.rand(())) > 0.5
    return views(x, torch.randn_like(x), flip, (top, left, height, width))


def joint(logits: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
    """Cross-entropy of both views and `alpha` times the square of their difference, [2B,K]."""
    one, two = logits.chunk(2)
    return F.cross_entropy(logits, y.repeat(2)) + alpha * (one - two).square().mean()


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """The percentage that is right, and how far two views' logits are apart."""
    with torch.no_grad():
        right = (module(x).argmax(1) == y).float().mean().item()
        apart = consistency(module)(x).mean().item()
    return {"clean": round(100 * right, 1), "apart": round(apart, 3)}


@recipe("soap")
def trained(info: DatasetInfo) -> Training:
    """Both views' cross-entropy and their agreement; on small images half of the network."""
    small = min(info.shape[1:]) < 28
    size = {"blocks": 1 if small else 2, "widths": [16, 32, 64]}
    classes, channels = len(info.classes), info.shape[0]
    return Training(
        network=Named("soap-resnet", {**size, "classes": classes, "channels": channels}),
        loss=lambda module, x, y: joint(module(_random_views(x)), y),
        steps=800 if small else 39_000,
        lr=5e-3 if small else 0.1,
        optimizer="adamw" if small else "momentum",
        weight_decay=1e-2 if small else 1e-4,
        schedule="onecycle" if small else "cosine",
        merit=_merit,
    )


@classifier(
    "soap",
    paper="Shi et al. 2021",
    link="https://arxiv.org/abs/2101.09387",
    weights=lambda settings: ("soap",),
)
def of_soap(context: Context) -> nn.Module:
    """SOAP's small residual network, trained for the consistency of views too."""
    return rebuild(context.weights("soap"))
