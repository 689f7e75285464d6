"""What libraries keep: labels in a list, and pictures that are decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.api.images import Dataset, DatasetInfo
from bench.api.own_data.dealt import Lot, Seen, data_set, named
from bench.api.own_data.pictures import Change, Shape, as_bytes, checked, shape_of
from bench.errors import BenchError, plain, told

if TYPE_CHECKING:
    from bench.api.own_data.dealt import Pixels


@dataclass(frozen=True, eq=False)
class LibraryPart:
    """One part of a library's data set: labels, and item(row), a picture or an array."""

    where: str
    labels: list[int]
    item: Callable[[int], Any]


def from_shelves(
    shelves: Mapping[str, LibraryPart],
    info: DatasetInfo,
    known: Sequence[str],
    shape: Shape | None,
    change: Change | None,
) -> Dataset:
    """The data set of parts by split; info still without shape, and perhaps without classes.

    known: the names that the library has for the classes. Errors as `data_set`.
    """
    first = next(iter(shelves.values()))
    if not first.labels:
        raise BenchError(f"{first.where} is empty")
    wanted = checked(shape) if shape else shape_of(_picture(first, 0), change, f"{first.where}[0]")
    number = 1 + max(max(shelf.labels, default=0) for shelf in shelves.values())
    classes = named(info.classes or known, number)
    lots = {split: _lot(shelf, wanted, change) for split, shelf in shelves.items()}
    return data_set(lots, replace(info, shape=wanted, classes=classes))


def _lot(shelf: LibraryPart, shape: Shape, change: Change | None) -> Lot:
    import numpy as np

    def one(row: int) -> Pixels:
        return as_bytes(_picture(shelf, row), shape, change, f"{shelf.where}[{row}]")

    seen = Seen()

    def digest(row: int) -> bytes:
        return seen.digest(row, lambda: hashlib.sha256(one(row).tobytes()).digest())

    def same(row: int) -> Pixels:
        """Another image than before: of a changed file, or of a transform that is random."""
        found = one(row)
        digest = hashlib.sha256(found.tobytes()).digest()
        seen.require(row, digest, f"{shelf.where}[{row}]", " (transforms may not be random)")
        return found

    def pixels(rows: Sequence[int]) -> Pixels:
        found = [same(row) for row in rows]
        return np.stack(found) if found else np.zeros((0, *shape), np.uint8)

    return Lot(shelf.where, shelf.labels, pixels, digest)


def _picture(shelf: LibraryPart, row: int) -> Any:
    """A Pillow image, whatever the library gives: an array or a tensor of bytes becomes one."""
    import numpy as np
    from PIL import Image

    try:
        found = shelf.item(row)
        if isinstance(found, Image.Image):
            return found
        array = np.asarray(found)
        if array.dtype != np.uint8:
            raise TypeError(f"{array.dtype}, not uint8")
        if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
            array = array.transpose(1, 2, 0)
        return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    # Whatever a library makes of a damaged file, it is a damaged file.
    except Exception as error:
        raise BenchError(f"{shelf.where}[{row}] is no image: {told(error)}") from None


def whole_numbers(values: Any, where: str) -> list[int]:
    """Labels as a list, whatever holds them."""
    try:
        listed = values.tolist() if hasattr(values, "tolist") else list(values)
        found = [int(value) for value in listed]
        if any(number != value for number, value in zip(found, listed, strict=True)):
            raise ValueError("fractions")
    except (TypeError, ValueError) as error:
        raise BenchError(f"the labels of {where} are no whole numbers ({plain(error)})") from None
    return found
