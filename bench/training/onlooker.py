"""Who looks on while a network is trained: none of it changes a number."""

from __future__ import annotations

from torch import nn


class StoppedError(Exception):
    """An onlooker asked for an end between two steps."""


class Onlooker:
    """Told of every step; asked after each whether to go on."""

    def begins(self, module: nn.Module, step: int, steps: int, batch: int) -> None:
        """Before the first step; `step` is where an earlier run was left, kept on disk."""

    def stepped(self, step: int, steps: int, loss: float) -> None:
        """After each step, with its loss."""

    def kept(self, step: int) -> None:
        """All up to this step is on disk."""

    def stop(self) -> bool:
        """Whether to end after this step: what there is is kept, then StoppedError is raised."""
        return False
