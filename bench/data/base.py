"""What a data set is: facts that planning reads without torch, and images by split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bench.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Images:
    """Images with their labels, never shuffled: a position in them is an identity.

    `x` is float32 [N,C,H,W] in [0,1] on the grid k/255, `y` int64 [N]. `block` int64 [N] names the
    source of each image: images of one block are statistically dependent, and intervals cluster
    by it.
    """

    x: Tensor
    y: Tensor
    block: Tensor

    def __len__(self) -> int:
        """The number N of images."""
        return len(self.y)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before a single image is read; holds no tensors."""

    name: str
    title: str
    shape: tuple[int, int, int]
    """(C, H, W) of every image."""
    classes: tuple[str, ...]
    threat: str
    """Default threat model, as text: `linf:8/255`."""
    threats: tuple[str, ...] = ()
    """Other threat models that make sense here."""
    draws: int = 10
    """Fresh predictions of the judge for random defenses (M)."""
    embedded: bool = False
    """The images come with the installed libraries: nothing is fetched."""
    controls: tuple[str, ...] = ()
    """Specs of the cheap defenses that every board of this data set carries."""
    clustered: bool = False
    """Images share blocks, so intervals are clustered by block."""
    subset: str = "512"
    """Name of the default subset."""


@dataclass(frozen=True)
class Dataset:
    """A data set: its facts, and a function from a split's name to its images."""

    info: DatasetInfo
    load: Callable[[str], Images]

    def images(self, split: str) -> Images:
        """The images of `train`, `validation` or `test`, read once per process.

        Raises:
            BenchError: for any other split.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return _images(self.load, split)


@cache
def _images(load: Callable[[str], Images], split: str) -> Images:
    return load(split)
