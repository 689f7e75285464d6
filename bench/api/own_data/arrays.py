"""A file of arrays (`.npz`, as `numpy.savez` writes it): images `x` and labels `y`.

Nothing in it is ever unpickled, and no array takes more memory than its header says and the limits
below allow.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.api.images import Dataset, DatasetInfo
from bench.api.own_data.dealt import WHOLE, Lot, changed_since, data_set, named, place
from bench.api.own_data.pictures import Shape, checked
from bench.errors import BenchError, plain
from bench.files.archives import GROWTH, SPARE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.api.own_data.dealt import Pixels

LARGEST = 8 << 30
"""Bytes of one array; more belongs into a folder, which is read image by image."""
LONGEST_HEADER = 10_000
SUFFIXES = {
    "": WHOLE,
    "_train": "train",
    "_test": "test",
    **dict.fromkeys(("_validation", "_valid", "_val"), "validation"),
}
"""What follows `x` and `y` in a key, and the split that it names."""
AT_ONCE = 4096
"""Images of floats that are turned into bytes at once."""


def from_npz(
    name: str,
    path: str | Path,
    *,
    threat: str,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
) -> Dataset:
    """The data set `name` from `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`.

    There may be `x_validation` and `y_validation` too. `x` is uint8, or float in [0,1] that is
    rounded to k/255: [N,H,W,C], [N,C,H,W], or [N,H,W] of grey images; shape, (C, H, W), says which
    where both are possible. `y` is int [N]; without classes they are called by number. A relative
    path is beside the calling file. threat, threats, draws, title: as in `DatasetInfo`.

    Raises:
        BenchError: no such file, keys, types, shapes or labels; once they are read, pixels out of
            range.
    """
    where = place(path)
    try:
        found = _pairs(where)
        labels = {split: _labels(where, y) for split, (_, y) in found.items()}
        sizes = {split: _head(where, x) for split, (x, _) in found.items()}
        if shape is not None:
            shape = checked(shape)
        shapes = {split: _layout(where, found[split][0], sizes[split][0], shape) for split in found}
        if len(set(shapes.values())) > 1:
            raise BenchError(f"{where} holds images of several sizes: {set(shapes.values())}")
        lots = {}
        for split, (x, y) in found.items():
            if sizes[split][0][0] != len(labels[split]):
                number = f"{sizes[split][0][0]} images in {x}, {len(labels[split])} labels in {y}"
                raise BenchError(f"{where} holds {number}")
            lots[split] = _lot(where, x, labels[split], shapes[split])
    except BenchError as error:
        raise BenchError(f"data set '{name}': {error}") from None
    known = named(classes, 1 + max((max(each, default=0) for each in labels.values()), default=0))
    info = DatasetInfo(
        name,
        title or f"the images of {where.name}",
        next(iter(shapes.values())),
        known,
        threat,
        tuple(threats),
        draws,
    )
    return data_set(lots, info)


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    """By split, the keys of its images and labels."""
    with _Archive(path) as packed:
        names = packed.namelist()
    keys = {name.removesuffix(".npy") for name in names if name.endswith(".npy")}
    found: dict[str, tuple[str, str]] = {}
    for suffix, split in SUFFIXES.items():
        if {f"x{suffix}", f"y{suffix}"} <= keys and split not in found:
            found[split] = (f"x{suffix}", f"y{suffix}")
    if not found:
        told = plain(", ".join(sorted(keys)) or "nothing", 200)
        raise BenchError(
            f"{path} holds {told}; x and y are needed, or x_train, y_train, x_test, y_test"
        )
    if WHOLE in found and len(found) > 1:
        raise BenchError(
            f"{path} holds x and y beside parts ({', '.join(found)}); keep one of both"
        )
    return found


class _Archive(zipfile.ZipFile):
    """A file of arrays; what is wrong with it while it is read becomes one line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_file():  # a device or a pipe would never end
                raise BenchError(f"cannot read {path}: it is no file")
            super().__init__(path)
        except BenchError:
            raise
        except OSError as error:
            raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
        except Exception as error:
            raise self.wrong(error) from None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Whatever a damaged file makes of its reader, it is a damaged file."""
        super().__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(error, BenchError):
            raise self.wrong(error) from None

    def wrong(self, error: BaseException) -> BenchError:
        """The error for a file that is none of arrays."""
        return BenchError(f"{self.path} cannot be read as .npz: {plain(error, 200)}")


Head = tuple[tuple[int, ...], str, int]
"""Shape and type of an array, and the checksum that the file has of it."""


def _head(path: Path, key: str) -> Head:
    """Of one array, without reading it; BenchError where it may not be read at all."""
    with _Archive(path) as packed:
        entry = packed.getinfo(f"{key}.npy")
        with packed.open(entry) as file:
            shape, kind = _header(file)
            size, start = math.prod(shape) * kind.itemsize, file.tell()
        if kind.hasobject or kind.kind not in "uif":
            raise BenchError(f"{path}: {key} is {kind}, not numbers; it is not read")
        if size + start != entry.file_size:
            raise BenchError(f"{path}: {key} says that it holds {shape} of {kind} and does not")
        if size > LARGEST:
            told = f"{size / 2**30:.0f} GB, more than {LARGEST >> 30}"
            raise BenchError(f"{path}: {key} has {told}; put the images into a folder")
        if size > GROWTH * entry.compress_size + SPARE:
            raise BenchError(
                f"{path}: {key} unpacks to far more than its size; it is refused (numpy.savez "
                "writes it without packing)"
            )
    return shape, kind.str, entry.CRC


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(file, max_header_size=LONGEST_HEADER)
    return shape, kind


def _array(path: Path, key: str, head: Head) -> NDArray[Any]:
    """One array, whole, as it was when its head was read; nothing is unpickled."""
    from numpy.lib import format as npy

    with _Archive(path) as packed:
        entry = packed.NameToInfo.get(f"{key}.npy")
        if entry is None or head[-1] != entry.CRC or _head(path, key) != head:
            raise changed_since(f"{path} ({key})")
        with packed.open(entry) as file:
            found: NDArray[Any] = npy.read_array(
                file, allow_pickle=False, max_header_size=LONGEST_HEADER
            )
    return found


def _labels(path: Path, key: str) -> list[int]:
    shape, kind, _ = head = _head(path, key)
    number = shape[0] if shape else 0
    if shape not in ((number,), (number, 1)) or kind[1] not in "iu":
        raise BenchError(f"{path}: {key} is {kind[1:]} {shape}; labels are integers, (N,)")
    if not number:
        raise BenchError(f"{path}: {key} is empty")
    found: list[int] = _array(path, key, head).reshape(-1).tolist()
    return found


def _layout(path: Path, key: str, stored: tuple[int, ...], shape: Shape | None) -> Shape:
    """(C, H, W) of images that are stored channels first, channels last, or grey without any."""
    possible: list[Shape] = []
    if len(stored) == 3:
        possible = [(1, stored[1], stored[2])]
    elif len(stored) == 4:
        possible = [(stored[1], stored[2], stored[3]), (stored[3], stored[1], stored[2])]
        possible = list(dict.fromkeys(each for each in possible if each[0] in (1, 3)))
    if shape in possible:
        return shape
    if len(possible) != 1 or shape is not None or 0 in stored:
        wanted = f"images {shape}" if shape else "(N,H,W,C) or (N,C,H,W) with 1 or 3 channels"
        hint = "; say shape=(C, H, W)" if len(possible) > 1 and shape is None else ""
        raise BenchError(f"{path}: {key} is {stored}; {wanted} are needed{hint}")
    return possible[0]


def _lot(path: Path, key: str, labels: Sequence[int], shape: Shape) -> Lot:
    stored, kind, _ = head = _head(path, key)
    if kind[1:] != "u1" and kind[1] != "f":
        raise BenchError(
            f"{path}: {key} is {kind[1:]}; save it as uint8 (0 to 255) or float in [0,1]"
        )
    last = len(stored) == 4 and (stored[1:] != shape)

    @cache
    def whole() -> Pixels:
        return _bytes(_array(path, key, head), f"{path}: {key}")

    def pixels(rows: Sequence[int]) -> Pixels:
        import numpy as np

        found = whole()[np.asarray(rows, np.int64)]
        return (
            np.ascontiguousarray(found.transpose(0, 3, 1, 2))
            if last
            else found.reshape(len(rows), *shape)
        )

    @cache
    def digest(row: int) -> bytes:
        return hashlib.sha256(whole()[row].tobytes()).digest()

    return Lot(f"{path} ({key})", labels, pixels, digest, lambda rows: None)


def _bytes(array: NDArray[Any], where: str) -> Pixels:
    """Floats in [0,1] as the nearest k/255; bytes as they are, unless none is above 1."""
    import numpy as np

    if array.dtype == np.uint8:
        if array.max(initial=0) == 1:
            raise BenchError(f"{where} is uint8 from 0 to 1, almost black; multiply it by 255")
        return array
    made = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), AT_ONCE):
        some = array[start : start + AT_ONCE].astype(np.float64)
        low, high = float(some.min()), float(some.max())
        if not (low >= 0 and high <= 1):
            hint = "; divide by 255, or save uint8" if low >= 0 and 1 < high <= 255 else ""
            raise BenchError(f"{where} reaches from {low:.4g} to {high:.4g}, not from 0 to 1{hint}")
        made[start : start + AT_ONCE] = np.rint(some * 255)
    return made
