"""Candidates tried again and again: one wrong prediction of any of them breaks an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api.purifier import Defense
from bench.compute import rng
from bench.measure.guard import guarded

ATTACKED, CLEAN = "submit", "submit-clean"
"""Streams of random numbers, which no attack can open."""


@dataclass(frozen=True)
class Tried:
    """What so many tries gave. steps: of the search; tries: at each of them.

    attacked, clean: how many predictions were right before the first wrong one, int64 [B], of the
    candidates in their order and of the image itself; steps * tries where none was wrong.
    """

    attacked: Tensor
    clean: Tensor
    steps: int
    tries: int

    @property
    def robust(self) -> Tensor:
        """The images that no try broke, bool [B]."""
        return self.attacked == self.steps * self.tries


def tried(defense: Defense, candidates: Tensor, x: Tensor, y: Tensor, tries: int) -> Tried:
    """Try each of candidates [T,B,C,H,W] around x [B,C,H,W], and x itself just as often.

    Every try is a fresh prediction; an image that one of them broke is tried no more.

    Raises:
        BenchError: the defense left something behind that cannot be put back.
    """
    with guarded("the defense", defense=defense):
        attacked = _survived(defense, list(candidates), y, tries, ATTACKED)
        clean = _survived(defense, [x] * len(candidates), y, tries, CLEAN)
    return Tried(attacked, clean, len(candidates), tries)


def _survived(defense: Defense, points: list[Tensor], y: Tensor, tries: int, stream: str) -> Tensor:
    """Right predictions before the first wrong one, int64 [B]."""
    right = torch.zeros_like(y)
    left = torch.arange(len(y), device=y.device)
    for draw in range(len(points) * tries):
        if not len(left):
            break
        with rng.stream(stream, draw):
            decided = defense.predict(points[draw // tries][left])
        left = left[decided == y[left]]
        right[left] += 1
    return right
