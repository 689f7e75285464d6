"""A folder of class folders with PNG or JPEG files, as torchvision's `ImageFolder` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.images import Dataset, DatasetInfo
from bench.api.own_data.dealt import WHOLE, Lot, Seen, data_set, place
from bench.api.own_data.pictures import (
    Change,
    Shape,
    as_bytes,
    checked,
    opened,
    require_shape,
    shape_of,
    unreadable,
)
from bench.errors import BenchError, plain
from bench.files.bounded import content_of

if TYPE_CHECKING:
    from bench.api.own_data.dealt import Pixels

PARTS = {
    "train": "train",
    "test": "test",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
"""Folders above the class folders, and the splits that they are."""
ENDINGS = (".png", ".jpg", ".jpeg")
IGNORED = ("thumbs.db", "desktop.ini")


def from_folder(
    name: str,
    path: str | Path,
    *,
    threat: str,
    shape: Shape | None = None,
    classes: Sequence[str] = (),
    title: str = "",
    threats: Sequence[str] = (),
    draws: int = 10,
    change: Change | None = None,
) -> Dataset:
    """The data set `name`: `path/CLASS/*.png`, or `path/train/CLASS`, `path/test/CLASS`.

    Beside train and test there may be `validation` (`val`, `valid`). A relative path is beside the
    calling file. shape: (C, H, W), else that of the first image. classes: the names of the folders
    in the order of the labels, else sorted. change: from a Pillow image to one, for images of
    several sizes. threat, threats, draws, title: as in `DatasetInfo`.

    Raises:
        BenchError: no such folder, a class without images, a file that is no PNG or JPEG; once a
            split is read, an image that cannot be read or has another size.
    """
    top = place(path)
    try:
        if shape is not None:
            shape = checked(shape)
        parts = _parts(top)
        known = tuple(classes) or tuple(_folders(next(iter(parts.values()))))
        files = {split: _files(folder, known) for split, folder in parts.items()}
        if shape is None:
            shape = _shape(next(iter(files.values()))[0][0], change)
    except BenchError as error:
        raise BenchError(f"data set '{name}': {error}") from None
    lots = {
        split: _lot(parts[split], shape, change, *zip(*found, strict=True))
        for split, found in files.items()
    }
    info = DatasetInfo(
        name, title or f"the images of {top.name}", shape, known, threat, tuple(threats), draws
    )
    return data_set(lots, info)


def _parts(top: Path) -> dict[str, Path]:
    """By split, the folder of its class folders."""
    names = _folders(top)
    if not set(names) <= set(PARTS):
        if apart := [name for name in names if name in ("train", "test")]:
            others = next(name for name in names if name not in PARTS)
            raise BenchError(f"{top} has a folder {apart[0]} beside one of a class ({others})")
        return {WHOLE: top}
    found: dict[str, Path] = {}
    for name in names:
        if PARTS[name] in found:
            raise BenchError(f"{top} has {found[PARTS[name]].name} and {name}; keep one of them")
        found[PARTS[name]] = top / name
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _folders(top: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones do not count."""
    try:
        found = sorted(e.name for e in top.iterdir() if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise BenchError(f"cannot read {top}: {error.strerror or error}") from None
    if not found:
        raise BenchError(f"{top} has no folders of classes in it (CLASS/image.png)")
    return found


def _files(top: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Every image below `top` with its label, by class and name."""
    names = _folders(top)
    if set(names) != set(classes) or len(set(classes)) != len(classes):
        odd = sorted(set(names) ^ set(classes)) or list(classes)
        raise BenchError(
            f"the folders of {top} are not the classes: {plain(', '.join(odd), 200)} "
            "(each class has one folder, in every part)"
        )
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        inside = sorted((top / name).iterdir(), key=lambda entry: entry.name)
        chosen = [e for e in inside if not e.name.startswith(".") and e.name.lower() not in IGNORED]
        for path in chosen:
            if not path.name.lower().endswith(ENDINGS) or not path.is_file():
                raise BenchError(f"{plain(path, 200)} is no PNG or JPEG file")
        if not chosen:
            raise BenchError(f"class '{plain(name)}' is empty: no images in {top / name}")
        found += [(path, label) for path in chosen]
    return found


def _shape(path: Path, change: Change | None) -> Shape:
    with opened(path) as picture:
        return shape_of(picture, change, str(path))


def _lot(
    top: Path, shape: Shape, change: Change | None, files: Sequence[Path], labels: Sequence[int]
) -> Lot:
    import numpy as np

    seen = Seen()

    def digest(row: int) -> bytes:
        return seen.digest(row, lambda: hashlib.sha256(content_of(files[row])).digest())

    def check(rows: Sequence[int]) -> None:
        """Heads only, where nothing changes the pictures."""
        for path in [files[row] for row in rows] if change is None else ():
            require_shape(_shape(path, None), shape, plain(path, 200))

    def one(row: int) -> Pixels:
        content = content_of(files[row])
        seen.require(row, hashlib.sha256(content).digest(), plain(files[row], 200))
        return _decoded(content, files[row], shape, change)

    def pixels(rows: Sequence[int]) -> Pixels:
        found = [one(row) for row in rows]
        return np.stack(found) if found else np.zeros((0, *shape), np.uint8)

    return Lot(str(top), list(labels), pixels, digest, check)


def _decoded(content: bytes, path: Path, shape: Shape, change: Change | None) -> Pixels:
    where = plain(path, 200)
    with opened(path, BytesIO(content)) as picture:
        shape_of(picture, None, where)  # refuses what is too large before it is decoded
        try:
            picture.load()
        except Exception as error:
            raise unreadable(path, error) from None
        return as_bytes(picture, shape, change, where)
