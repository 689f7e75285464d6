"""Certified robustness by randomized smoothing (Cohen et al. 2019), of any defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.api import Runs, attack
from bench.api.attacked import ABSTAINED, Attacked, Certificate
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits, repeat
from bench.spec import Range, Settings
from bench.stats import certified_radius, mcnemar
from bench.threat import CERTIFIED

# Noisy copies of each image that are classified together; fixed: memory never moves a number.
MICRO = 25

Rule = Literal["certify", "predict"]


@dataclass(frozen=True)
class Certify:
    """The class that most noisy copies get, and the l2 radius within which it stays.

    The base classifier is one run of the defense on x + sigma * noise, clipped to [0,1], with
    whatever randomness the run has of its own. rule: `certify` chooses the class on `first` copies
    and bounds its probability on `copies` fresh ones; `predict` tests the two most frequent classes
    of `copies` and gives no radius. Either is wrong with a chance of at most alpha, and abstains
    where it cannot tell.
    """

    sigma: float = 0.25
    first: int = 100
    copies: int = 100_000
    alpha: float = 1e-3
    rule: Rule = "certify"

    @torch.no_grad()
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The images x [B,C,H,W] as they are, with a certificate each."""
        if self.rule == "predict":
            found = [self._predict(row) for row in self._count(defense, x, self.copies)]
        else:
            chosen = self._count(defense, x, self.first).argmax(1).tolist()
            counts = self._count(defense, x, self.copies)
            found = [self._bound(row, label) for row, label in zip(counts, chosen, strict=True)]
        labels, copies, radii = (
            torch.tensor(column, device=x.device) for column in zip(*found, strict=True)
        )
        return Attacked(x, certificate=Certificate(labels, copies, radii))

    def _count(self, defense: Defense, x: Tensor, copies: int) -> Tensor:
        """How many noisy copies of each image get each class, int64 [B,K]."""
        total: Tensor | int = 0
        for start in range(0, copies, MICRO):
            many = repeat(x, min(MICRO, copies - start))
            logits = defense.logits((many + self.sigma * torch.randn_like(many)).clamp(0, 1))
            hits = F.one_hot(logits.argmax(1), logits.shape[1])
            total = total + hits.view(-1, len(x), logits.shape[1]).sum(0)
        return torch.as_tensor(total)

    def _bound(self, counts: Tensor, label: int) -> tuple[int, int, float]:
        """Class, its copies, radius (Cohen et al. 2019, CERTIFY)."""
        hits = int(counts[label])
        radius = certified_radius(hits, self.copies, self.alpha, self.sigma)
        return (ABSTAINED, hits, 0.0) if radius is None else (label, hits, radius)

    def _predict(self, counts: Tensor) -> tuple[int, int, float]:
        """Class, its copies, no radius (Cohen et al. 2019, PREDICT)."""
        (hits, others), (label, _) = (part.tolist() for part in counts.topk(2))
        sure = mcnemar(hits, others) <= self.alpha
        return label if sure else ABSTAINED, hits, 0.0


def _cost(settings: Settings, traits: Traits) -> Runs:
    """Every copy is one run; the certificate is the verdict, so the judge asks nothing."""
    first = int(settings["first"]) if settings["rule"] == "certify" else 0
    return Runs(plain=first + int(settings["copies"]))


@attack(
    "certify",
    source="Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing",
    paper="Cohen et al. 2019",
    link="https://arxiv.org/abs/1902.02918",
    norms=(CERTIFIED,),
    # sigma: what `noisy` was trained with (bench/training/recipes/noisy.py). The presets' copies
    # are ours: they bound the largest radius, not what is certified within it.
    settings={
        "patches": {"sigma": 0.1},
        "digits": {"sigma": 0.25},
        "quick": {"first": 10, "copies": 100},
        "standard": {"copies": 1000},
    },
    cost=_cost,
    knows="little",
    aside="the share that is right and does not abstain, a proof and no attack",
)
def certify(
    *,
    sigma: Annotated[float, Range(1e-6, 1e3)] = 0.25,
    first: Annotated[int, Range(1)] = 100,
    copies: Annotated[int, Range(1)] = 100_000,
    alpha: Annotated[float, Range(1e-12, 0.5)] = 1e-3,
    rule: Rule = "certify",
) -> Certify:
    """Class and l2 radius that no perturbation can change, by classifying noisy copies.

    Meant for a classifier trained on noise (`none@noisy`) or a denoiser before one (`denoise`).
    """
    return Certify(sigma, first, copies, alpha, rule)
