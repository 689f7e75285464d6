"""Tiny copies of the fetched data sets in their true formats on disk; pixels are random."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from bench.data.corruptions import EXTRA, KINDS

Bytes = NDArray[np.uint8]


def pixels(number: int, shape: tuple[int, ...], seed: int = 0) -> Bytes:
    """Random images [number, *shape]."""
    return np.random.default_rng(seed).integers(0, 256, (number, *shape), dtype=np.uint8)


def _save_text(pickler: Any, text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode("latin1")
    pickler.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
    pickler.memoize(text)


PYTHON: Any = vars(pickle)["_Pickler"]
"""The pickler that is written in Python."""


def pickled(path: Path, batch: Mapping[str, Any]) -> None:
    """A python batch as the published ones are: protocol 2, the old name of NumPy's module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickler = PYTHON(file, protocol=2)
        # As Python 2, which wrote the published batches: texts are bytes, and there is no unicode.
        pickler.dispatch = {**PYTHON.dispatch, bytes: _save_text, str: _save_text}
        pickler.dump(dict(batch))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))


def cifar10(root: Path, train: int = 40, test: int = 40) -> Bytes:
    """Five training batches and the test batch; the test images are returned."""
    folder = root / "cifar-10-batches-py"
    for batch in range(1, 6):
        data = pixels(train // 5, (3072,), batch)
        labels = [i % 10 for i in range(len(data))]
        named = {"batch_label": f"training batch {batch} of 5", "labels": labels, "data": data}
        pickled(folder / f"data_batch_{batch}", named)
    data = pixels(test, (3072,))
    pickled(folder / "test_batch", {"labels": [i % 10 for i in range(test)], "data": data})
    return data.reshape(-1, 3, 32, 32)


def cifar100(root: Path, train: int = 40, test: int = 40) -> Bytes:
    """The train and test files, with fine and coarse labels; the test images are returned."""
    data = pixels(test, (3072,))
    for name, part in (("train", pixels(train, (3072,), 1)), ("test", data)):
        fine = [7 * i % 100 for i in range(len(part))]
        coarse = [label // 5 for label in fine]
        batch = {"data": part, "fine_labels": fine, "coarse_labels": coarse}
        pickled(root / "cifar-100-python" / name, batch)
    return data.reshape(-1, 3, 32, 32)


def svhn(root: Path, train: int = 40, test: int = 40) -> Bytes:
    """The .mat files, pixels as [32,32,3,N], labels 1 to 10; the test images are returned."""
    root.mkdir(parents=True, exist_ok=True)
    data = pixels(test, (3, 32, 32))
    for name, part in (("train", pixels(train, (3, 32, 32), 1)), ("test", data)):
        y = np.array([[i % 10 or 10] for i in range(len(part))], dtype=np.uint8)
        savemat(root / f"{name}_32x32.mat", {"X": part.transpose(2, 3, 1, 0), "y": y})
    return data


def idx(path: Path, content: Bytes) -> None:
    """An idx file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes((0, 0, 8, content.ndim)) + b"".join(n.to_bytes(4, "big") for n in content.shape)
    path.write_bytes(head + content.tobytes())


def mnist(root: Path, train: int = 40, test: int = 40, folder: str = "MNIST") -> Bytes:
    """The four idx files; the test images are returned."""
    data = pixels(test, (28, 28))
    for name, part in (("train", pixels(train, (28, 28), 1)), ("t10k", data)):
        raw = root / folder / "raw"
        idx(raw / f"{name}-images-idx3-ubyte", part)
        idx(raw / f"{name}-labels-idx1-ubyte", np.arange(len(part), dtype=np.uint8) % 10)
    return data[:, None]


def fashionmnist(root: Path, train: int = 40, test: int = 40) -> Bytes:
    """As MNIST, in its own folder."""
    return mnist(root, train, test, "FashionMNIST")


def wnids(number: int) -> list[str]:
    """Names of class folders, not in their order."""
    names = [f"n{10_000_000 + 37 * i:08d}" for i in range(number)]
    return names[number // 2 :] + names[: number // 2]


def _jpeg(path: Path, content: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path, quality=95)


def tinyimagenet(root: Path, train: int = 40, test: int = 40) -> None:
    """The archive's tree: lists of wnids, training folders, validation images and their list."""
    folder, names = root / "tiny-imagenet-200", wnids(200)
    for i in range(200):
        (folder / "train" / names[i] / "images").mkdir(parents=True)
        (folder / "train" / names[i] / f"{names[i]}_boxes.txt").write_text("")
    (folder / "wnids.txt").write_text("\n".join(names) + "\n")
    for i, image in enumerate(pixels(train, (64, 64, 3), 1)):
        _jpeg(folder / "train" / names[i % 8] / "images" / f"{names[i % 8]}_{i}.JPEG", image)
    lines = []
    for i, image in enumerate(pixels(test, (64, 64, 3))):
        grey = i == 3  # some are, in the published set too
        _jpeg(folder / "val" / "images" / f"val_{i}.JPEG", image[..., 0] if grey else image)
        lines.append(f"val_{i}.JPEG\t{names[i % 200]}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))


def imagenet(root: Path, train: int = 0, test: int = 40) -> None:
    """The validation folder: a folder for each of 1,000 classes, images of several sizes."""
    names = sorted(wnids(1000))
    for split, number in (("train", train), ("val", test)):
        folder = root / "imagenet" / split
        for name in names if number else ():
            (folder / name).mkdir(parents=True)
        for i in range(number):
            image = pixels(1, (260 + i, 300 - i, 3), i)[0]
            _jpeg(folder / names[i % 20] / f"ILSVRC2012_{split}_{i + 1:08d}.JPEG", image)


def corrupted(root: Path, folder: str, label: list[int]) -> dict[str, Bytes]:
    """All nineteen files of CIFAR-10-C over as many test images as there are labels.

    Every pixel says where it stands: 50 times (severity - 1) plus the image's index (below 50).
    """
    (root / folder).mkdir(parents=True)
    number = len(label)
    place = np.concatenate([50 * s + np.arange(number) for s in range(5)]).astype(np.uint8)
    content = np.broadcast_to(place[:, None, None, None], (5 * number, 32, 32, 3))
    files = {kind: np.ascontiguousarray(content) for kind in (*KINDS, *EXTRA)}
    for kind, data in files.items():
        np.save(root / folder / f"{kind}.npy", data)
    np.save(root / folder / "labels.npy", np.tile(np.array(label), 5))
    return files


WRITERS: Mapping[str, Callable[..., Any]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "tinyimagenet": tinyimagenet,
    "imagenet": imagenet,
    "mnist": mnist,
    "fashionmnist": fashionmnist,
}
