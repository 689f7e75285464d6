"""`svhn`: the cropped digits of Netzer et al. (2011), the .mat files as torchvision keeps them.

Threats: linf 12/255 with steps of 2/255 is what AID-Purifier attacks SVHN with (its appendix).
"""

from __future__ import annotations

from bench.data.base import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, require, rows_of_bytes
from bench.registry import dataset

FILES = {"train": "train_32x32.mat", "validation": "train_32x32.mat", "test": "test_32x32.mat"}

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
        file = loadmat(path)
        pixels, label = file["X"], file["y"].reshape(-1).astype(np.int64)
        pixels = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)).astype(np.uint8, copy=False)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error})", "svhn") from None
    # Whatever a damaged file makes of the reader, it is a damaged file.
    except Exception as error:
        raise damaged(path, f"is no .mat file of SVHN ({type(error).__name__})", "svhn") from None
    return rows_of_bytes(SVHN, split, pixels, label % 10, path)  # the files call zero 10
