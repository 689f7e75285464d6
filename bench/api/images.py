"""What a data set is: facts that planning reads without torch, and images by split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bench.errors import BenchError, unknown
from bench.files.paths import data_root

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "validation", "test")
AT_ONCE = 32 * 2**30
"""Bytes: splits larger than this are read by rows only."""


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

    def take(self, index: Sequence[int]) -> Images:
        """The images at `index`, in that order."""
        rows = list(index)
        return Images(self.x[rows], self.y[rows], self.block[rows])

    def copy(self) -> Images:
        """The same images in memory of their own."""
        return Images(self.x.clone(), self.y.clone(), self.block.clone())


@dataclass(frozen=True, eq=False)
class Rows:
    """As `Images`, but the pixels stay where they are until some of them are asked for.

    pixels(index) gives `x` of those rows.
    """

    y: Tensor
    block: Tensor
    pixels: Callable[[Sequence[int]], Tensor]

    def __len__(self) -> int:
        """The number N of images."""
        return len(self.y)

    def take(self, index: Sequence[int]) -> Images:
        """The images at `index`, in that order."""
        rows = list(index)
        return Images(self.pixels(rows), self.y[rows], self.block[rows])


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
    clustered: bool = False
    """Images share blocks, so intervals are clustered by block."""
    subset: str = "512"
    """Name of the default subset."""
    published: int = 0
    """Images of the whole test set, where no order of them is committed."""
    images_of: str = ""
    """The data set that has the same images, where only the networks are others."""

    @property
    def source(self) -> str:
        """The name under which the images are published: whoever reads about them looks there."""
        return self.images_of or self.name


@dataclass(frozen=True)
class Dataset:
    """A data set: its facts, and a function from a split's name to its images.

    What `load` reads from the data root it reads again when that root is another one.
    """

    info: DatasetInfo
    load: Callable[[str], Images | Rows]

    def read(self, split: str) -> Images | Rows:
        """`train`, `validation` or `test`, read once per process: labels now, pixels by row.

        Raises:
            BenchError: for any other split, or where the files are missing or damaged.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return _read(self.load, split, str(data_root()))

    def images(self, split: str) -> Images:
        """All images of a split at once; of embedded data a copy, since verdicts read the same.

        Raises:
            BenchError: as `read`, or more images than any memory holds.
        """
        found = self.read(split)
        if isinstance(found, Images):
            return found.copy()
        size = 4 * len(found) * math.prod(self.info.shape)
        if size > AT_ONCE:
            raise BenchError(
                f"the {split} images of data set '{self.info.name}' take {size / 2**30:.0f} GB at "
                "once; they can only be read by rows"
            )
        return _all(found)

    def take(self, split: str, index: Sequence[int]) -> Images:
        """Some images of a split, without reading the others.

        Raises:
            BenchError: as `read`, or a copy that has no such image.
        """
        found = self.read(split)
        if index and max(index) >= len(found):
            raise BenchError(
                f"data set '{self.info.name}' in {data_root()} has {len(found)} {split} images, "
                f"image {max(index)} is not among them: the copy is not a whole one"
            )
        return found.take(index)


@cache
def _read(load: Callable[[str], Images | Rows], split: str, root: str) -> Images | Rows:
    return load(split)


@cache
def _all(rows: Rows) -> Images:
    return rows.take(range(len(rows)))
