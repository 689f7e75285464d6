"""`svhn`: the cropped digits of Netzer et al. (2011), the .mat files as torchvision keeps them.

Threats: linf 12/255 with steps of 2/255 is what AID-Purifier attacks SVHN with (its appendix).
"""

from __future__ import annotations

from pathlib import Path

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, require, rows_of_bytes
from bench.files.bounded import inflated_size

FILES = {"train": "train_32x32.mat", "validation": "train_32x32.mat", "test": "test_32x32.mat"}

HEAD, COMPRESSED = 128, 15
"""Bytes before the first part of a .mat file, and the type of a packed part."""

SVHN = DatasetInfo(
    name="svhn",
    title="SVHN, cropped digits, 32x32 RGB",
    shape=(3, 32, 32),
    classes=tuple("0123456789"),
    threat="linf:12/255",
    threats=("linf:8/255", "l2:0.5"),
    published=26_032,
)


@dataset("svhn", info=SVHN)
def svhn() -> Dataset:
    """68,257 training, 5,000 validation and 26,032 test images; the extra images are not read."""
    return Dataset(SVHN, _load)


def _load(split: str) -> Rows:
    import numpy as np
    from scipy.io import loadmat

    (path,) = require("svhn", FILES[split])
    try:
        _require_small(path)
        file = loadmat(path, variable_names=("X", "y"))
        pixels, label = file["X"], file["y"].reshape(-1).astype(np.int64)
        pixels = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)).astype(np.uint8, copy=False)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error})", "svhn") from None
    # Whatever a damaged file makes of the reader, it is a damaged file.
    except Exception as error:
        raise damaged(path, f"is no .mat file of SVHN ({type(error).__name__})", "svhn") from None
    return rows_of_bytes(SVHN, split, pixels, label % 10, path)  # the files call zero 10


def _require_small(path: Path) -> None:
    """ValueError where a packed part unpacks to too much, or X and y are no plain numbers."""
    from scipy.io import whosmat

    with path.open("rb") as file:
        file.seek(HEAD)
        while len(tag := file.read(8)) == 8:
            kind, length = (int.from_bytes(tag[i : i + 4], "little") for i in (0, 4))
            after = file.tell() + length
            if kind == COMPRESSED:
                inflated_size(file, length)
            file.seek(after)
    for name, _, kept in whosmat(path):
        if name in ("X", "y") and kept not in ("uint8", "double"):
            raise ValueError(f"{name} is {kept}")
