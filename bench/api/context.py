"""What a factory is handed: weights, training images, and the classifier behind a purifier."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError
from bench.spec import Part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.api.purifier import Network


OWNER = "{classifier}"
"""Stands, in the name of weights, for the classifier that they belong to."""


def owned(name: str, classifier: Part) -> str:
    """The name of weights with the resolved classifier filled in, fit to name a file.

    What a plain name has not (settings, a path) is told apart by a digest.
    """
    text = str(classifier)
    safe = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")
    if safe != text:
        safe = f"{safe[-40:].strip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return name.replace(OWNER, safe)


@dataclass(frozen=True)
class Base:
    """The classifier behind a defense, for purifiers that are add-ons to it.

    part: its name and resolved settings. taps(): names of the maps that it offers, from input to
    output, of `module().features`. module(): the frozen network on the device, the defense's own.
    sha256(): of its weights.
    """

    part: Part
    taps: Callable[[], tuple[str, ...]]
    module: Callable[[], nn.Module]
    sha256: Callable[[], str]


@dataclass(frozen=True)
class Context:
    """What a factory is handed: where its networks come from and what images look like.

    shape is (C, H, W). `weights(name)` finds, verifies and returns a weight file; `train()`
    returns training images [N,C,H,W] in [0,1] for purifiers that are fitted in closed form.
    `base` is the classifier behind; names of weights may hold `{classifier}` in its place, and
    such weights are refused where they belong to another classifier.
    """

    dataset: str
    shape: tuple[int, int, int]
    classes: int
    device: torch.device
    weights: Callable[[str], Weights]
    train: Callable[[], torch.Tensor]
    base: Base | None = None

    @property
    def behind(self) -> Base:
        """The classifier behind the purifier that is built.

        Raises:
            BenchError: there is none in this context (`bench.measure.build` always gives one).
        """
        if self.base is None:
            raise BenchError(
                "this purifier needs the classifier behind it: use bench.measure.build"
            )
        return self.base

    def network(
        self,
        module: nn.Module,
        name: str,
        call: Callable[..., torch.Tensor] | None = None,
        *,
        exact: bool = False,
        random: bool = False,
    ) -> Network:
        """`module` on the device, frozen, chunked and counted under `name`.

        exact: its answers need float32 (a finite difference), whatever precision is asked for.
        random: two of its answers may differ.
        """
        from bench.api.purifier import Network

        return Network(module.to(self.device), name, call, exact=exact, random=random)


@dataclass(frozen=True)
class Weights:
    """A checkpoint that was found: its file, the file's sha256 and the facts stored inside it.

    untrained: there is no file, and the network of the facts gets no values of use: `random` ones,
    `zeros`, or none at all, as `shapes` on the device meta (bench/estimate/untrained.py).
    """

    name: str
    path: Path
    sha256: str
    metadata: dict[str, str]
    untrained: Literal["", "random", "zeros", "shapes"] = ""
