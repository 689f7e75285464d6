"""How an attacker chooses between points: on draws that neither it nor the judge has used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.gradients import draws_of, mean_logits
from bench.api.purifier import Answer, Defense
from bench.compute import rng


class Verdict(NamedTuple):
    """rate: mean correctness over fresh draws, [B]; rank: the rate, ties broken by p(y)."""

    rate: Tensor
    rank: Tensor


class Selector:
    """Fresh draws of the deployed prediction from the stream `select`, never the same twice."""

    def __init__(self, defense: Defense, draws: int) -> None:
        """`draws` predictions each time, one for a deterministic defense."""
        self.defense = defense
        self.draws = draws_of(draws, defense.random)
        self.used = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor) -> Verdict:
        """How often the defense is right on images x [B,C,H,W]; the attacker wants it low."""
        right = torch.zeros(len(x), device=x.device)
        confidence = torch.zeros_like(right)
        for _ in range(self.draws):
            decided, scores = self._answer(x, None)
            right += (decided == y).float() / self.draws
            confidence += scores.gather(1, y.unsqueeze(1)).squeeze(1).exp() / self.draws
        return Verdict(right, right + 1e-3 * confidence)

    @torch.no_grad()
    def mean_logits(self, x: Tensor) -> Tensor:
        """The mean logits [B,K] of as many fresh single runs as there are draws."""
        with rng.stream("select", self.used):
            logits = mean_logits(self.defense, x, self.draws)
        self.used += 1
        return logits

    @torch.no_grad()
    def wrong(self, x: Tensor, y: Tensor, runs: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Indices of images that one draw after the other gets wrong, and draws asked of each.

        runs: purifications of each draw in turn (0: the defense's own S); an image that a draw
        gets right is asked no more, so that luck is refuted cheaply.
        """
        left = torch.arange(len(x), device=x.device)
        asked = torch.zeros_like(left)
        for count in runs:
            if not len(left):
                break
            asked[left] += 1
            left = left[self._answer(x[left], count or None).decided != y[left]]
        return left, asked

    def _answer(self, x: Tensor, runs: int | None) -> Answer:
        with rng.stream("select", self.used):
            answer = self.defense.answer(x, runs)
        self.used += 1
        return answer


class Best:
    """The point that the defense got right least often so far, per image."""

    def __init__(self, defense: Defense, x: Tensor, y: Tensor, draws: int) -> None:
        """Starts from `x` [B,C,H,W] itself, scored on `draws` fresh predictions."""
        self.select, self.y = Selector(defense, draws), y
        self.x, self.verdict = x.clone(), self.select(x, y)

    @property
    def alive(self) -> Tensor:
        """Indices of images that some fresh draw still gets right, int64 [A]."""
        return (self.verdict.rate > 0).nonzero().squeeze(1)

    def offer(self, x: Tensor, index: Tensor) -> None:
        """Keep point `x` [A,C,H,W] of image `index` [A] where it is better."""
        if not len(index):
            return
        verdict = self.select(x, self.y[index])
        better = verdict.rank < self.verdict.rank[index]
        chosen = index[better]
        self.x[chosen] = x[better]
        self.verdict.rate[chosen] = verdict.rate[better]
        self.verdict.rank[chosen] = verdict.rank[better]
