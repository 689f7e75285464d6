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

    pixels(index) gives `x` of those rows. digest(): of the content of all of them, where it can be
    told without decoding them; else the first images stand for the others.
    """

    y: Tensor
    block: Tensor
    pixels: Callable[[Sequence[int]], Tensor]
    digest: Callable[[], str] | None = None

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
    sha256: str = ""
    """Of all published test images as bytes 0..255, [N,C,H,W], where a copy is held against it."""
    images_of: str = ""
    """The data set that has the same images, where only the networks are others."""
    split: str = ""
    """How many images each split has and how they were dealt, where nobody published that."""

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
        return self._labelled(_read(self.load, split, str(data_root())), split)

    def images(self, split: str) -> Images:
        """All images of a split at once; of embedded data a copy, since verdicts read the same.

        Raises:
            BenchError: as `read`, or more images than any memory holds.
        """
        found = self.read(split)
        if isinstance(found, Images):
            return self._seen(found.copy(), split)
        size = 4 * len(found) * math.prod(self.info.shape)
        if size > AT_ONCE:
            raise BenchError(
                f"the {split} images of data set '{self.info.name}' take {size / 2**30:.0f} GB at "
                "once; they can only be read by rows"
            )
        return self._seen(_all(found), split)

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
        return self._seen(found.take(index), split)

    def _labelled(self, found: Images | Rows, split: str) -> Images | Rows:
        """Refuse labels and blocks that are not what everybody takes them for."""
        import torch

        if not isinstance(found, Images | Rows):
            raise self._wrong(split, f"load gave {type(found).__name__}, not Images or Rows")
        for name, values in (("labels", found.y), ("blocks", found.block)):
            if values.dtype != torch.int64 or values.dim() != 1:
                told = f"{values.dtype} {tuple(values.shape)}"
                raise self._wrong(split, f"{name} are {told}, not torch.int64 (N,)")
        if len(found.y) != len(found.block) or (
            isinstance(found, Images) and len(found.x) != len(found.y)
        ):
            raise self._wrong(split, "not as many images, labels and blocks")
        if len(found.y) and not 0 <= found.y.min() <= found.y.max() < len(self.info.classes):
            raise self._wrong(split, f"labels outside of 0 to {len(self.info.classes) - 1}")
        return found

    def _seen(self, found: Images, split: str) -> Images:
        """Refuse pixels that are not what everybody takes them for."""
        import torch

        told, shape = f"{found.x.dtype} {tuple(found.x.shape)}", (len(found), *self.info.shape)
        if told != f"{torch.float32} {shape}":
            raise self._wrong(split, f"images are {told}, not {torch.float32} {shape}")
        if len(found) and not (found.x.min() >= 0 and found.x.max() <= 1):
            raise self._wrong(split, "pixels that are not from 0 to 1")
        return found

    def _wrong(self, split: str, what: str) -> BenchError:
        return BenchError(f"data set '{self.info.name}', {split}: {what}")


@cache
def _read(load: Callable[[str], Images | Rows], split: str, root: str) -> Images | Rows:
    from bench.compute.surroundings import as_before

    with as_before():
        return load(split)


@cache
def _all(rows: Rows) -> Images:
    return rows.take(range(len(rows)))
