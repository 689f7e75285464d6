"""`mnist` and `fashionmnist`: idx files in torchvision's folders.

Threats: linf 0.3 for MNIST (Madry et al. 2018; ADP, appendix D.6) and linf 8/255 for Fashion-MNIST
(ADP, appendix D.6).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, require, rows_of_bytes
from bench.files.bounded import expanded
from bench.files.paths import data_root

if TYPE_CHECKING:
    from bench.data.files import Bytes

FOLDERS = {"mnist": "MNIST/raw", "fashionmnist": "FashionMNIST/raw"}
LARGEST = 200_000_000
"""Bytes of the images of one file; the published ones have 47 million."""
NAMES = {"train": "train", "validation": "train", "test": "t10k"}

MNIST = DatasetInfo(
    name="mnist",
    title="MNIST, 28x28, one channel",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    threat="linf:0.3",
    threats=("linf:0.1", "l2:2"),
    published=10_000,
    sha256="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
)
FASHION = DatasetInfo(
    name="fashionmnist",
    title="Fashion-MNIST, 28x28, one channel",
    shape=(1, 28, 28),
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    threat="linf:8/255",
    threats=("linf:0.1",),
    published=10_000,
)


@dataset("mnist", info=MNIST)
def mnist() -> Dataset:
    """55,000 training, 5,000 validation and 10,000 test images."""
    return Dataset(MNIST, _load_mnist)


@dataset("fashionmnist", info=FASHION)
def fashionmnist() -> Dataset:
    """55,000 training, 5,000 validation and 10,000 test images."""
    return Dataset(FASHION, _load_fashion)


def _load_mnist(split: str) -> Rows:
    return _load(MNIST, split)


def _load_fashion(split: str) -> Rows:
    return _load(FASHION, split)


def _load(info: DatasetInfo, split: str) -> Rows:
    folder, name = FOLDERS[info.name], NAMES[split]
    images = _file(info.name, f"{folder}/{name}-images-idx3-ubyte")
    labels = _file(info.name, f"{folder}/{name}-labels-idx1-ubyte")
    pixels = read_idx(images, 3, info.name)[:, None]
    return rows_of_bytes(info, split, pixels, read_idx(labels, 1, info.name).tolist(), images)


def _file(dataset: str, name: str) -> Path:
    """The file, or the packed one beside it."""
    packed = data_root() / f"{name}.gz"
    return packed if packed.is_file() else require(dataset, name)[0]


def read_idx(path: Path, dimensions: int, dataset: str = "mnist") -> Bytes:
    """The bytes of an idx file of that many dimensions; `.gz` is unpacked on the way.

    Raises:
        BenchError: not such a file, or not a whole one.
    """
    import numpy as np

    head = 4 * (dimensions + 1)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            start = stream.read(head)
            if start[:4] != bytes((0, 0, 8, dimensions)):
                what = f"is not an idx file of bytes in {dimensions} dimensions"
                raise damaged(path, what, dataset)
            shape = tuple(int.from_bytes(start[i : i + 4], "big") for i in range(4, head, 4))
            content = expanded(stream, min(math.prod(shape), LARGEST))
    except ValueError:  # more than it says
        raise damaged(path, f"says that it holds {shape} and does not", dataset) from None
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"cannot be read ({error})", dataset) from None
    if math.prod(shape) != len(content):
        raise damaged(path, f"says that it holds {shape} and does not", dataset)
    return np.frombuffer(content, np.uint8).reshape(shape)
