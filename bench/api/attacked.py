"""What the judge may know of an attack: it is a function that returns attacked images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from bench.api.ball import ThreatModel
from bench.api.purifier import Defense


@dataclass(frozen=True)
class Trace:
    """What an iterative attack saw, for the reliability flags.

    loss: [steps,B] the loss it climbs; grad_norm: [steps,B] l2 norm of its gradient. cosine:
    [steps,B] between its gradient and BPDA's, where both were looked at. spread: [steps,3,B], of
    the draws of each gradient, where they were compared: the part of a draw that is variance, the
    cosine between the means of two halves, the part of signs that twice as many would turn.
    """

    loss: Tensor
    grad_norm: Tensor
    cosine: Tensor | None = None
    spread: Tensor | None = None


ABSTAINED = -1
"""The class of a certificate that says nothing."""


@dataclass(frozen=True)
class Certificate:
    """What is proven of each image (with the attack's confidence), in place of attacking it.

    label: the class, or ABSTAINED, int [B]. copies: noisy copies that got it, int [B].
    radius: l2, in pixel units, within which the class stays, [B]; 0 where nothing is proven.
    """

    label: Tensor
    copies: Tensor
    radius: Tensor


@dataclass(frozen=True)
class Attacked:
    """Attacked images and how they came about.

    x_adv: [B,C,H,W], or [V,B,C,H,W] with one entry of `variants` for each V (corruptions).
    protocol: the attack's own verdict, bool [B] (True: still robust), where it decides inside.
    queries: deployed predictions asked of the defense per image, int [B].
    certificate: within the threat `certified`, in place of the judge's predictions.
    gradient: through what the search followed it, where that depends on the defense: `exact`,
    `bpda`, or one of them for each part of a stack, joined by `+`.
    hidden: of the gradients that came back to it, by image, the share that were exactly zero and
    the share that were not a number, [B] each. The judge sees to it.
    candidates: within a threat `resubmit`, every point that the search came to, [T,B,C,H,W], of
    which the judge tries each `tries` times.
    error: how wrong the exact gradient is at each image, [B], of the larger slope; where checked.
    """

    x_adv: Tensor
    variants: tuple[str, ...] = ()
    trace: Trace | None = None
    protocol: Tensor | None = None
    queries: Tensor | None = None
    certificate: Certificate | None = None
    gradient: str = ""
    hidden: tuple[Tensor, Tensor] | None = None
    candidates: Tensor | None = None
    tries: int = 0
    error: Tensor | None = None


class Attack(Protocol):
    """A frozen dataclass; its fields are the logged settings."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Attack images x [B,C,H,W] in [0,1] with labels y [B] within `threat`."""
        ...


@runtime_checkable
class Indexed(Protocol):
    """An attack whose points lie in files, by image: it is told which images it will be given."""

    def at(self, split: str, index: Sequence[int]) -> Attack:
        """The attack on the images `index` of `split`, in that order."""
        ...


@runtime_checkable
class Given(Protocol):
    """An attack whose points somebody made beforehand; sha256: of the file that holds them."""

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        ...
