"""How libraries see a defense: as a model of one tensor; they print nothing and write nothing."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attacks.gradients import voted
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute import rng

GradientMode = Literal["bpda", "exact"]
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
LOGGER = "auto-attack"


class _StraightThrough(torch.autograd.Function):
    """Forward z, backward as if z were x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(x: Tensor, z: Tensor) -> Tensor:
    """z, whose gradient goes to x unchanged."""
    moved: Tensor = _StraightThrough.apply(x, z)
    return moved


class View(nn.Module):
    """One run of a defense as logits [B,K]; its gradient is BPDA's or the exact one.

    Through a sign or an argmax a library would see zeros, hence BPDA unless told otherwise. A
    library decides by the highest logit: where a deterministic defense decides otherwise (logits
    that are one after rounding), its class is lifted above the others.
    """

    def __init__(self, defense: Defense, gradient: GradientMode = "bpda") -> None:
        super().__init__()
        self.defense, self.gradient = defense, gradient

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images x [B,C,H,W] in [0,1]."""
        if self.gradient == "exact" or not (torch.is_grad_enabled() and x.requires_grad):
            return self._lifted(self.defense.logits(x))
        with torch.no_grad():
            z = self.defense.purify(x)
        return self._lifted(self.defense.classifier(straight_through(x, z)))

    def _lifted(self, logits: Tensor) -> Tensor:
        if self.defense.random:
            return logits
        seen = logits.detach()
        decided = voted(self.defense, seen)
        odd = (seen.argmax(1) != decided).nonzero().squeeze(1)
        if not len(odd):
            return logits
        above = torch.zeros_like(seen)
        top = seen[odd].amax(1)
        above[odd, decided[odd]] = top.nextafter(top + 1) - seen[odd, decided[odd]]
        return logits + above


class Scores(nn.Module):
    """The deployed scores (log mean softmax over `runs`; 0: the defense's own S), no gradient."""

    def __init__(self, defense: Defense, runs: int = 0) -> None:
        super().__init__()
        self.defense, self.runs = defense, runs

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Scores [B,K] of images x [B,C,H,W] in [0,1]."""
        return self.defense.scores(x, self.runs or None)


@contextmanager
def quiet() -> Iterator[int]:
    """No log line, no warning and no lost random state; gives a seed for the library.

    The library reseeds the global generator (without a seed: from the clock) and ends any trace
    function.
    """
    seed = int(torch.randint(2**31, ()))
    logger, trace = logging.getLogger(LOGGER), sys.gettrace()
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=rng.gpus()):
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            yield seed
    finally:
        logger.disabled = before
        sys.settrace(trace)


def ball(threat: ThreatModel, x: Tensor) -> dict[str, Any]:
    """The keyword arguments that every attack of the library takes."""
    return {"norm": NORMS[threat.norm], "eps": threat.eps, "device": x.device}
