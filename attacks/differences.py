"""How far the exact gradient is from differences of the loss itself: a check of that gradient.

At each image, in float64 and in one run whose random numbers stay the same: the slope that autograd
gives, along itself and along a random direction, beside how much the loss really rises between two
near points of that line. A gradient that is wrong, or leaves out a part of the defense, shows.
What a purifier declares as detached is held (docs/semantics.md, "Gradients").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.gradients import Exact
from attacks.losses import LossName, climbed
from bench.api import Runs, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.compute.rng import seeded
from bench.spec import Settings
from bench.threat import PROBE

REACHES = (1e-3, 1e-4, 1e-5, 1e-6)
"""How far the two points are from the image, as a mean over pixels (root mean square). The slope
that agrees best counts: far points see a bend, near ones rounding."""
INSIDE = 0.8
"""Contrast that the images are looked at with: off 0 and 1, where clipping has no slope."""


@dataclass(frozen=True)
class Differences:
    """Leaves images as they are, and says how wrong the exact gradient of `loss` is at each."""

    loss: LossName = "margin"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Images x [B,C,H,W]; `threat` plays no part."""
        point, run = 0.5 + INSIDE * (x.double() - 0.5), int(torch.randint(2**31, ()))
        across = torch.randn_like(point)

        def value(at: Tensor) -> Tensor:
            with torch.no_grad(), seeded("differences", run):
                return climbed(self.loss, defense.logits(at), y)

        with in_float64(defense), held(defense):
            with seeded("differences", run):
                gradient = Exact(self.loss)(defense, point, y).gradient
            length = gradient.flatten(1).norm(dim=1)
            # Along a random direction, a gradient of that length has this slope.
            usual = length / gradient[0].numel() ** 0.5
            wrong = torch.maximum(
                _wrong(value, point, gradient, gradient, length),
                _wrong(value, point, gradient, across, usual),
            )
        # What is not a number is as wrong as can be.
        return replace(Attacked(x), error=wrong.nan_to_num(nan=2.0).to(x.dtype))


def _wrong(
    value: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, line: Tensor, usual: Tensor
) -> Tensor:
    """How far apart the two slopes along `line` are, of the larger one, [B] from 0 to 2.

    usual: a slope, [B], below which none of the two counts.
    """
    ahead = F.normalize(line.nan_to_num(0, 0, 0).flatten(1)).view_as(x)
    said = (gradient * ahead).flatten(1).sum(1)
    found = []
    for reach in REACHES:
        step = reach * x[0].numel() ** 0.5
        rise = (value(x + step * ahead) - value(x - step * ahead)) / (2 * step)
        larger = torch.stack([rise.abs(), said.abs(), usual]).amax(0)
        found.append((rise - said).abs() / larger.clamp_min(torch.finfo(x.dtype).tiny))
    return torch.stack(found).amin(0)


@contextmanager
def in_float64(defense: Defense) -> Iterator[None]:
    """Inside, purifiers and classifier compute in float64; after it they are what they were."""
    modules = [m for part in (defense.classifier, *defense.purifiers) for m in part.modules()]
    plain = [(m, name, v) for m in modules for name, v in vars(m).items() if _computes(v)]
    stored = [(v, v.data) for m in modules for v in _stored(m) if _computes(v)]
    try:
        for module, name, value in plain:
            setattr(module, name, value.double())
        for tensor, data in stored:
            tensor.data = data.double()
        yield
    finally:
        for module, name, value in plain:
            setattr(module, name, value)
        for tensor, data in stored:
            tensor.data = data


def _stored(module: nn.Module) -> list[Tensor]:
    """A module's own parameters and buffers."""
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _computes(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


@contextmanager
def held(defense: Defense) -> Iterator[None]:
    """Inside, every run takes the detached quantities of the first, where a purifier has any."""
    with ExitStack() as stack:
        for purifier in defense.purifiers:
            hold = getattr(purifier, "hold", None)
            if hold is not None:
                stack.enter_context(hold())
        yield


def _no_gradient(settings: Settings, traits: Traits) -> str | None:
    return None if traits.exact else "no exact gradient: nothing to check"


def _runs(settings: Settings, traits: Traits) -> Runs:
    return Runs(exact=1, plain=4 * len(REACHES))


@attack(
    "gradient-error",
    source="central differences in float64; distances ours",
    skip=_no_gradient,
    cost=_runs,
    threat=lambda settings, ball: f"{PROBE}:{ball}",
    knows="all",
    aside="a diagnostic of the exact gradient, whose finding stands under the notes",
)
def gradient_error(*, loss: LossName = "margin") -> Differences:
    """Whether the exact gradient is that of the loss: no attack, and in no worst case.

    loss: of a confident prediction `ce` is too small for differences, in float64 too.
    """
    return Differences(loss)
