"""Random numbers of a batch kept, and given again to some of its rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench.compute.rng import DRAWS, FILLS
from bench.errors import BenchError


@contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """What torch's functions draw inside the block, in their order."""
    kept: list[Tensor] = []
    with _Recorded(kept):
        yield kept


@contextmanager
def replayed(kept: Sequence[Tensor], rows: Tensor, whole: int) -> Iterator[None]:
    """Inside, a batch of these rows draws what those of the whole batch drew.

    The batch axis is where a drawn tensor has `whole` entries and now as many as there are rows;
    what has none is given as it was. What exceeds the record (a run that goes on for longer) is
    drawn afresh.

    Raises:
        BenchError: the batch draws numbers of another shape than the whole one did.
    """
    with _Replayed(list(kept), rows, whole):
        yield


def _is_draw(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name in DRAWS and kwargs.get("generator") is None and "out" not in kwargs


class _Recorded(TorchFunctionMode):
    def __init__(self, kept: list[Tensor]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        drawn = func(*args, **(kwargs or {}))
        if _is_draw(func, kwargs or {}):
            self.kept.append(drawn.detach().clone())
        return drawn


class _Replayed(TorchFunctionMode):
    def __init__(self, kept: list[Tensor], rows: Tensor, whole: int) -> None:
        super().__init__()
        self.kept, self.rows, self.whole = kept, rows, whole

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        drawn = func(*args, **(kwargs or {}))
        if not _is_draw(func, kwargs or {}) or not self.kept:
            return drawn
        again = self._of_rows(self.kept.pop(0), drawn.shape)
        return args[0].copy_(again) if getattr(func, "__name__", "") in FILLS else again

    def _of_rows(self, kept: Tensor, shape: torch.Size) -> Tensor:
        """The numbers of the rows, in the shape that is asked for now."""
        pairs = list(zip(kept.shape, shape, strict=False))
        axes = [
            n
            for n, pair in enumerate(pairs)
            if pair == (self.whole, len(self.rows))
            and all(a == b for m, (a, b) in enumerate(pairs) if m != n)
        ]
        if kept.shape == shape and not axes:  # the same numbers for every image
            return kept
        if kept.dim() != len(shape) or not axes:
            raise BenchError(
                f"random numbers of shape {tuple(shape)} for {len(self.rows)} rows, where the "
                f"batch of {self.whole} drew {tuple(kept.shape)}"
            )
        return kept.index_select(axes[0], self.rows.to(kept.device))
