"""Readers of data sets, archives and points, with whole files for each."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from bench.compute.tensor_file import packed
from bench.data import cifar, imagenet, mnist, points, subsets, svhn, tinyimagenet
from bench.data.corruptions import stored
from bench.files import archives
from bench.files.bounded import json_of, text_of
from bench.results.record import Cell
from tests.data import copies
from tests.faults.fuzz import Reader

SHAPE = (3, 8, 8)


def _cifar(folder: Path) -> list[bytes]:
    copies.cifar10(folder / "data", 5, 20)
    return [(folder / "data" / cifar.FOLDERS["cifar10"] / "test_batch").read_bytes()]


def _idx(folder: Path) -> list[bytes]:
    head = bytes((0, 0, 8, 3)) + b"".join(n.to_bytes(4, "big") for n in (5, 28, 28))
    return [head + copies.pixels(5, (28, 28)).tobytes()]


def _svhn(folder: Path) -> list[bytes]:
    copies.svhn(folder / "data", 1, 4)
    return [(folder / "data" / "test_32x32.mat").read_bytes()]


def _read_svhn(path: Path) -> object:
    with mock.patch("bench.data.svhn.require", return_value=[path]):
        return svhn._load("test")


def _images(folder: Path) -> list[bytes]:
    found = []
    for kind in ("JPEG", "PNG", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(copies.pixels(64, (64, 3))).save(stream, kind)
        found.append(stream.getvalue())
    return found


def _decode(path: Path) -> object:
    return imagenet.decode([str(path)], None, (3, 64, 64), "tinyimagenet")


def _list(folder: Path) -> list[bytes]:
    (folder / "wnids.txt").write_text("\n".join(f"n{i:08d}" for i in range(200)))
    lines = (f"val_{i}.JPEG\tn{i:08d}\t0\t0\t62\t62\n" for i in range(200))
    return ["".join(lines).encode()]


def _read_list(path: Path) -> object:
    paths = [path, path.with_name("wnids.txt")]
    with mock.patch("bench.data.tinyimagenet.require", return_value=paths):
        return tinyimagenet._annotated()


def _subset(folder: Path) -> list[bytes]:
    return [subsets._text("mnist.json").encode()]


def _read_subset(path: Path) -> object:
    subsets._drawn.cache_clear()
    with mock.patch("bench.data.subsets._text", return_value=text_of(path)):
        for name in ("512", "test", "every-100"):
            subsets.load_subset.__wrapped__("mnist", name)
        return subsets.subset_names("mnist")


def _npy(array: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def _corruption(folder: Path) -> list[bytes]:
    return [_npy(copies.pixels(10, (32, 32, 3)))]


def _archive(folder: Path) -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in ("a/one", "a/two", "b/" + "long" * 40):
            info = tarfile.TarInfo(name)
            info.size = 100
            file.addfile(info, io.BytesIO(bytes(100)))
    return [stream.getvalue()]


def _zip(folder: Path) -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a/one", "a/two", "b"):
            file.writestr(name, bytes(3_000))
    return [stream.getvalue()]


def _unpack(path: Path) -> object:
    target = path.parent / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    archives.unpack(path, target)
    return target


def _x() -> torch.Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


def _points(folder: Path) -> list[bytes]:
    cell = (
        '{"dataset": "toy", "subset": "512", "defense": "none@natural", "attack": "bpda", '
        '"threat": "linf:8/255", "seed": 0, "versions": "none=1"}'
    )
    tensors = {"x_adv": _x(), "index": torch.arange(4), "label": torch.arange(4)}
    about = {"cell": cell, "digest": Cell(**json_of(cell)).digest, "shard": "0", "variants": "[]"}
    return [packed(tensors, about), packed(tensors, {"dataset": "toy"})]


def _npz(folder: Path) -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, x_adv=_x().numpy(), index=np.arange(4), label=np.arange(4))
        found.append(stream.getvalue())
    return found


def _member(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return file.read("x_adv.npy")


def _members(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x_adv.npy", content)
    return stream.getvalue()


def _read_points(path: Path) -> object:
    return points.read(path, "toy", SHAPE)


def _of(file: str, whole: Callable[[Path], list[bytes]], read: Callable[[Path], object]) -> Reader:
    return Reader("data", file, whole, read)


GZIP = (gzip.decompress, lambda content: gzip.compress(content, 1))
DATA: Mapping[str, Reader] = {
    "cifar": _of("test_batch", _cifar, lambda path: cifar.read_batch(path, "labels")),
    "idx": _of("images-idx3-ubyte", _idx, lambda path: mnist.read_idx(path, 3)),
    "idx-gz": Reader(
        "data",
        "images-idx3-ubyte.gz",
        lambda folder: [gzip.compress(_idx(folder)[0])],
        lambda path: mnist.read_idx(path, 3),
        GZIP,
    ),
    "mat": _of("test_32x32.mat", _svhn, _read_svhn),
    "image": _of("val_0.JPEG", _images, _decode),
    "list": _of("val_annotations.txt", _list, _read_list),
    "subset": _of("mnist.json", _subset, _read_subset),
    "corruption": _of("jpeg.npy", _corruption, stored._open.__wrapped__),
    "tar": _of("set.tar", _archive, _unpack),
    "tar-gz": Reader(
        "data", "set.tar.gz", lambda folder: [gzip.compress(_archive(folder)[0])], _unpack, GZIP
    ),
    "archive-zip": _of("set.zip", _zip, _unpack),
    "npy": _of("points.npy", lambda folder: [_npy(_x())], _read_points),
    "npz": Reader("data", "points.npz", _npz, _read_points, (_member, _members)),
    "points": _of("points.safetensors", _points, _read_points),
}
