"""ME-Net (Yang et al. 2019): pixels are left out at random, and the image is completed again.

Colours lie side by side in one matrix (`channels=concat`) of values in [-1,1]; a Bernoulli mask
leaves a share `p` of it. Completion is one of three: `usvt` keeps the largest singular values of
what is left, divided by the share of entries that is; `soft-impute` fills what is missing again and
again from shrunken singular values; `nuclear` minimises mu |X|_* + sum of (X - A)^2 over what is
left. The classifier is meant to be trained on completed images (`@completed`, `bench train
completed`); p at inference is the mean of those in training.

What is unlike the article on which USVT rests, as in the authors' code: the number of singular
values is a fixed share `keep` of the side and no threshold. What is unlike the authors' code: grey
images and such that are not square can be completed; the sum is divided by the share of the whole
matrix; nothing is truncated to whole grey levels, which their path for clean test images does; and
the nuclear norm's minimum is found by accelerated proximal steps to 1e-9, theirs by SCS to 1e-4.
Their prediction is one mask, not a vote, and so is ours (`runs=1`).

The paper's attack passes gradients on unchanged (`bpda`). Each completion has an exact gradient
too, that of a function of singular values, which `pgd-exact` follows: where two values coincide,
one of which is kept, there is none, and the mean of both sides' is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import Context, Named, Training, classifier, defense, recipe
from bench.api.images import DatasetInfo
from bench.api.purifier import Purifier, Traits
from bench.models.zoo.networks import rebuild
from bench.spec import Range, Settings

CLOSE = 1e-9
"""Singular values that differ by less, relative to the largest, count as equal."""
TRAINED_AT = (0.4, 0.6)
"""Shares of pixels left, uniform per image, while `completed` is trained."""
Completion = Callable[[Tensor, Tensor], Tensor]
"""(matrices [N,m,n] in [-1,1], masks of the same shape, 1 where left) -> completed ones."""


class _Spectral(torch.autograd.Function):
    """U f(S) V' of matrices [N,m,n], m <= n, for f(s_i) = max(s_i - cut, 0) if i < keep, else 0."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, cut: Tensor, keep: int) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        index = torch.arange(s.shape[1], device=s.device)
        alive = ((s > cut[:, None]) & (index < keep)).to(s.dtype)
        ctx.save_for_backward(u, s, vh, (s - cut[:, None]) * alive, alive)
        out: Tensor = (u * ((s - cut[:, None]) * alive)[:, None]) @ vh
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        """Divided differences of f, those of its odd continuation for the skew part."""
        u, s, vh, f, alive = ctx.saved_tensors
        inner = u.mT @ g @ vh.mT
        even, odd = (inner + inner.mT) / 2, (inner - inner.mT) / 2
        mean = (alive[:, :, None] + alive[:, None]) / 2
        size = CLOSE * s[:, :1, None]
        apart = _ratio(f[:, :, None] - f[:, None], s[:, :, None] - s[:, None], mean, size)
        beside = _ratio(f[:, :, None] + f[:, None], s[:, :, None] + s[:, None], mean, size)
        own = _ratio(f[:, :, None], s[:, :, None], alive[:, :, None], size)
        outside = u.mT @ g - inner @ vh
        back = u @ ((even * apart + odd * beside) @ vh + own * outside)
        return back, -(inner.diagonal(dim1=1, dim2=2) * alive).sum(1), None


def _ratio(top: Tensor, bottom: Tensor, otherwise: Tensor, size: Tensor) -> Tensor:
    """top / bottom where bottom is larger than `size`, `otherwise` elsewhere."""
    there = bottom.abs() > size
    return torch.where(there, top / bottom.where(there, torch.ones_like(bottom)), otherwise)


def spectral(matrix: Tensor, cut: Tensor, keep: int) -> Tensor:
    """The `keep` largest singular values of [N,m,n], each less cut [N] (and 0 below it)."""
    if matrix.shape[1] > matrix.shape[2]:
        return spectral(matrix.mT, cut, keep).mT
    out: Tensor = _Spectral.apply(matrix, cut, keep)
    return out


def usvt(share: float) -> Completion:
    """Rank truncation to int(share * rows), divided by the share that is left."""

    def complete(a: Tensor, mask: Tensor) -> Tensor:
        left = mask.mean((1, 2), keepdim=True).clamp(min=1 / mask[0].numel())
        keep = max(1, int(share * a.shape[1]))
        return spectral(a * mask, a.new_zeros(len(a)), keep) / left

    return complete


def soft_impute(rounds: int = 100, shrink: float = 50.0, tolerance: float = 1e-3) -> Completion:
    """Mazumder et al. 2010: shrink by s_max / `shrink`, fill what is missing, up to `rounds` times.

    An image stops when what was filled in changes by less than `tolerance` of itself.
    """

    def complete(a: Tensor, mask: Tensor) -> Tensor:
        known = a * mask
        cut = torch.linalg.svdvals(known)[:, 0] / shrink
        filled_in, done = known, torch.zeros(len(a), dtype=torch.bool, device=a.device)
        for _ in range(rounds):
            new = torch.where(mask > 0, a, spectral(filled_in, cut, a.shape[1]))
            with torch.no_grad():
                old = _norm(filled_in - known)
                ends = (old > 0) & (_norm(new - filled_in) < tolerance * old)
            filled_in = torch.where(done[:, None, None], filled_in, new)
            done = done | ends
            if done.all():
                break
        return filled_in

    return complete


def nuclear(mu: float, rounds: int = 500, tolerance: float = 1e-9) -> Completion:
    """The minimum of mu |X|_* + sum over what is left of (X - A)^2, by restarted FISTA."""

    def complete(a: Tensor, mask: Tensor) -> Tensor:
        cut = a.new_full((len(a),), mu / 2)
        x = ahead = torch.zeros_like(a)
        time = a.new_ones(len(a), 1, 1)
        done = torch.zeros(len(a), 1, 1, dtype=torch.bool, device=a.device)
        for _ in range(rounds):
            new = spectral(torch.where(mask > 0, a, ahead), cut, a.shape[1])
            with torch.no_grad():
                back = ((ahead - new) * (new - x)).sum((1, 2), keepdim=True) > 0
                time = torch.where(back, torch.ones_like(time), time)
                later = (1 + (1 + 4 * time**2).sqrt()) / 2
                ends = (_norm(new - x) <= tolerance * _norm(new))[:, None, None]
            ahead = new + (time - 1) / later * (new - x)
            x, time = torch.where(done, x, new), later
            done = done | ends
            if done.all():
                break
        return x

    return complete


def _norm(x: Tensor) -> Tensor:
    """Of each matrix, [N]."""
    return x.flatten(1).square().sum(1).sqrt()


def completed(x: Tensor, mask: Tensor, complete: Completion) -> Tensor:
    """Images [B,C,H,W] in [0,1], of which a mask says what is left, completed and clipped.

    mask: 0 or 1, [B,C,H,W] for one matrix of all colours side by side, [B,1,H,W] for one of each.
    """
    count, channels, height, width = x.shape
    values = 2 * x.double() - 1
    if mask.shape[1] == channels:
        a, left = (v.permute(0, 2, 1, 3).flatten(2) for v in (values, mask.double()))
        whole = complete(a, left).view(count, height, channels, width).permute(0, 2, 1, 3)
    else:
        left = mask.double().expand_as(x).flatten(0, 1)
        whole = complete(values.flatten(0, 1), left).view_as(x)
    # Of what is outside alone: a clamp stops the gradient at what lies on the border, too.
    inside = torch.where(whole.abs() > 1, whole.clamp(-1, 1), whole)
    return ((inside + 1) / 2).to(x.dtype)


class MENet(Purifier):
    """A fresh mask for every image, and its completion."""

    def __init__(self, complete: Completion, p: float, *, apart: bool = False) -> None:
        """p: the share of entries that is left. apart: one mask for all colours, each completed."""
        super().__init__()
        self.complete, self.p, self.apart = complete, p, apart

    def forward(self, x: Tensor) -> Tensor:
        """One completion, [B,C,H,W] in [0,1] to the same."""
        mask = (torch.rand_like(x[:, :1] if self.apart else x) < self.p).to(x.dtype)
        return completed(x, mask, self.complete)


def _traits(settings: Settings) -> Traits:
    noisy = float(settings["p"]) < 1
    return Traits(random=noisy, exact=True, runs=int(settings["runs"]) if noisy else 1)


def _idle(settings: Settings) -> dict[str, str]:
    of = {"keep": "usvt", "mu": "nuclear"}
    idle = {key: f"it is of method={m}" for key, m in of.items() if settings["method"] != m}
    return idle if float(settings["p"]) < 1 else {**idle, "runs": "p=1 leaves nothing out"}


@defense(
    "me-net",
    source="Yang et al. 2019, ME-Net: adversarial robustness with matrix estimation",
    paper="Yang et al. 2019",
    link="https://arxiv.org/abs/1905.11971",
    groups={"competitors": ("me-net@completed",)},
    traits=_traits,
    idle=_idle,
)
def me_net(
    context: Context,
    *,
    method: Literal["usvt", "soft-impute", "nuclear"] = "usvt",
    p: Annotated[float, Range(0.01, 1)] = 0.5,
    channels: Literal["concat", "separate"] = "concat",
    keep: Annotated[float, Range(0.01, 1)] = 0.8,
    mu: Annotated[float, Range(1e-6, 1e3)] = 1.0,
    runs: Annotated[int, Range(1, 1000)] = 1,
) -> MENet:
    """Random masks and matrix completion, for a classifier trained on completed images.

    `keep` is USVT's share of singular values, `mu` the weight of the nuclear norm. Soft-impute
    returns the pixels that are left as they are.
    """
    ways = {"usvt": usvt(keep), "soft-impute": soft_impute(), "nuclear": nuclear(mu)}
    return MENet(ways[method], p, apart=channels == "separate")


@torch.no_grad()
def _masked(x: Tensor) -> Tensor:
    low, high = TRAINED_AT
    p = low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device)
    return completed(x, (torch.rand_like(x) < p).to(x.dtype), usvt(0.8))


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of images under fresh masks."""
    return F.cross_entropy(module(_masked(x)), y)


def _merit(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """The percentage that is right, as images are and completed."""
    with torch.no_grad():
        right = {"clean": module(x), "completed": module(_masked(x))}
    return {k: round(100 * (v.argmax(1) == y).float().mean().item(), 1) for k, v in right.items()}


@recipe("completed")
def trained(info: DatasetInfo) -> Training:
    """A new mask for every image in each step; on small images the size of `natural`'s network."""
    small = min(info.shape[1:]) < 32
    size = {"depth": 10, "widen": 1, "stem_stride": 2} if small else {"depth": 28, "widen": 10}
    classes, channels = len(info.classes), info.shape[0]
    return Training(
        network=Named("wideresnet", {**size, "classes": classes, "channels": channels}),
        loss=_loss,
        steps=1200 if small else 78_000,
        lr=5e-3 if small else 0.1,
        optimizer="adamw" if small else "momentum",
        weight_decay=1e-2 if small else 1e-4,
        schedule="onecycle" if small else "cosine",
        merit=_merit,
    )


@classifier(
    "completed",
    paper="Yang et al. 2019",
    link="https://arxiv.org/abs/1905.11971",
    weights=lambda settings: ("completed",),
)
def of_completed(context: Context) -> nn.Module:
    """A WideResNet trained on completed images: the base of `me-net`."""
    return rebuild(context.weights("completed"))
