"""What an attacker may change, as text and numbers: a norm, its eps, what is no ball. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from bench.errors import BenchError, plain, unknown
from bench.spec import number

NORMS = ("linf", "l2", "l1")
CERTIFIED = "certified"
# Not balls: an unchanged image, images that a corruption made (only their range is checked), and an
# unchanged image of which something is proven.
MARKERS = ("none", "corruption", CERTIFIED)
FLOW = "flow"
"""No ball either: every pixel is read from elsewhere, at most so far away along each axis."""
SSIM = "ssim"
"""Nor this: any image whose structural similarity to the first one is 1 - eps at least."""
OWN = (FLOW, SSIM)
KNOWN = "known"
"""Before a ball: the judge replays the random numbers that the attacker saw. A diagnostic."""
PROBE = "probe"
"""Before a ball: a search that measures something besides. A diagnostic."""

RESUBMIT = "resubmit"
"""Before a ball: every candidate is tried many times, and one failure breaks the image."""
ASIDE = (KNOWN, PROBE, RESUBMIT)


@dataclass(frozen=True)
class Threat:
    """A ball of radius `eps` around each image, in [0,1] pixel units, intersected with [0,1].

    `norm` is `linf`, `l2` or `l1`; the markers `none` and `certified` (x_adv is x) and `corruption`
    (any image) have eps 0 and serve cells that are not attacks within a ball. A ball of radius 0 is
    a control: whatever attacks within it must leave what it found. aside: one of ASIDE, or empty.

    `flow` moves pixels: its eps is in units in which the image reaches from -1 to 1, from the
    centre of its first pixel to that of its last. `ssim` measures how alike images look.
    """

    norm: str
    eps: float
    aside: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """`linf:8/255`, `l2:0.5`, `none`, `corruption`, `flow:0.05`, `known:linf:8/255`.

        Raises:
            BenchError: unknown norm, or an eps that is no number from 0 on.
        """
        norm, _, radius = map(str.strip, text.partition(":"))
        if norm in ASIDE and not radius.startswith(ASIDE):
            return replace(cls.parse(radius), aside=norm)
        if norm in MARKERS and not radius:
            return cls(norm, 0.0)
        if norm not in (*NORMS, *OWN):
            raise unknown("threat", norm, NORMS)
        try:
            eps = number(radius) + 0.0  # of -0 it makes 0
        except (ValueError, ZeroDivisionError):
            eps = -1.0
        if not 0 <= eps < float("inf"):
            raise BenchError(f"threat '{plain(text)}' needs an eps from 0 on, such as {norm}:8/255")
        if norm == "linf" and eps > 1:
            raise BenchError(
                f"threat '{plain(text)}': pixels lie in [0,1], so eps is at most 1; "
                f"did you mean '{norm}:{plain(radius)}/255'?"
            )
        return cls(norm, eps)

    @property
    def is_ball(self) -> bool:
        """Whether it is a ball and no diagnostic: what a worst case may be over."""
        return self.norm in NORMS and not self.aside

    @property
    def radius(self) -> str:
        """The one text of eps: of a ball in grey levels where they are whole, such as `8/255`."""
        levels = self.eps * 255
        if self.eps and self.norm not in (*OWN, "l1") and abs(levels - round(levels)) < 1e-9:
            return f"{round(levels)}/255"
        return f"{self.eps:.6g}"

    def __str__(self) -> str:
        if self.aside:
            return f"{self.aside}:{replace(self, aside='')}"
        return self.norm if self.norm in MARKERS else f"{self.norm}:{self.radius}"
