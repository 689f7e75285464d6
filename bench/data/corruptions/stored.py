"""Corrupted images in files: the layout of CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich).

A folder under the data root holds `KIND.npy`, uint8 [5n,H,W,3], and `labels.npy` [5n]: five blocks
of the n test images in their order, one block for each severity.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.corruptions import SEVERITIES
from bench.errors import BenchError, plain
from bench.files.paths import data_root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LABELS = "labels"
PLACES, PIECE = 256, 1024
"""A published file has 154 million bytes, of which a digest reads so many pieces of so many bytes:
another generation of images is another everywhere."""


def missing(folder: str, kinds: Sequence[str]) -> str | None:
    """Which file of `folder` under the data root is not there, or nothing."""
    root = data_root() / folder
    if not root.is_dir():
        return f"no folder {folder} in {data_root()}"
    gone = [name for name in (*kinds, LABELS) if not (root / f"{name}.npy").is_file()]
    return f"no {gone[0]}.npy in {root}" if gone else None


def digest(folder: str, kinds: Sequence[str]) -> str:
    """Of the files of these kinds, by their sizes and what they hold at PLACES; 16 hex digits."""
    root = data_root() / folder
    found = [_looked(root / f"{name}.npy", _stand(root / f"{name}.npy")) for name in kinds]
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]


def _stand(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError:
        return 0, 0
    return told.st_size, told.st_mtime_ns


@cache
def _looked(path: Path, stand: tuple[int, int]) -> str:
    """Size and content of a file at PLACES; `stand`: as of `_stand`, when it was looked at."""
    size, _ = stand
    told = hashlib.sha256(str(size).encode())
    with contextlib.suppress(OSError), path.open("rb") as file:
        for place in range(PLACES):
            file.seek(size * place // PLACES)
            told.update(file.read(PIECE))
    return told.hexdigest()


def rows(number: int, severity: int, index: Sequence[int]) -> list[int]:
    """Where the test images `index` of `number` lie, corrupted at `severity`."""
    return [(severity - 1) * number + i for i in index]


def stored(folder: str, kind: str, severity: int, index: Sequence[int], label: Tensor) -> Tensor:
    """The test images `index` corrupted: float32 [n,3,H,W] in [0,1], on the grid k/255.

    label [n]: those of the images, which must be those in the file.

    Raises:
        BenchError: a file that is missing or of another form, or labels that differ.
    """
    import numpy as np
    import torch

    root = data_root() / folder
    if reason := missing(folder, [kind]):
        raise BenchError(f"corruption: {reason}")
    images, labels = _open(root / f"{kind}.npy"), _open(root / f"{LABELS}.npy")
    number, left = divmod(len(images), len(SEVERITIES))
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or left:
        raise BenchError(f"{root / kind}.npy holds {images.dtype} {images.shape}, not [5n,H,W,3]")
    if labels.shape != (len(images),):
        raise BenchError(f"{root / LABELS}.npy holds {labels.shape} labels of {len(images)} images")
    if max(index) >= number:
        raise BenchError(
            f"{root / kind}.npy holds {number} images of each severity, image {max(index)} is not "
            "among them: the copy is not a whole one"
        )
    at = rows(number, severity, index)
    if labels[at].tolist() != label.tolist():
        raise BenchError(f"the labels in {root} are not those of the test images")
    return torch.from_numpy(images[at]).permute(0, 3, 1, 2).float() / 255


@cache
def _open(path: Path) -> NDArray[np.uint8]:
    import numpy as np

    try:
        found: np.memmap[Any, np.dtype[np.uint8]] = np.load(path, "r", allow_pickle=False)
        size, told = path.stat().st_size, found.offset + found.nbytes
        if size != told:  # bytes that slipped in shift all pixels behind them
            raise ValueError(f"{size} bytes, of {told} that its header tells of")
    # Whatever a damaged header makes of its reader, it is a damaged file.
    except Exception as error:
        reason = plain(" ".join(str(error).split()) or type(error).__name__, 200)
        raise BenchError(f"{path} is not a whole .npy file ({reason})") from None
    return found
