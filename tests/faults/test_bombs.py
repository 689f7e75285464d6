"""Small files and short texts that ask for gigabytes or for ever: one line each, within bounds."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.api import discover
from bench.api.ball import ThreatModel
from bench.data import cifar, imagenet, mnist
from bench.data.subsets import load_subset
from bench.errors import BenchError
from bench.files.archives import unpack
from bench.models.zoo import weights as zoo
from bench.plan.slices import Slice
from bench.results.archive import Archive
from bench.spec import parse_part
from tests.faults.data import _read_points, _read_subset, _read_svhn
from tests.faults.fuzz import bounded

ROOM = 600 << 20
"""Bytes of address space that any of these may ask for."""


def refused(read: Callable[[Path], object], path: Path) -> str:
    with bounded(ROOM), pytest.raises(BenchError) as caught:
        read(path)
    line = str(caught.value)
    assert path.name in line
    assert "\n" not in line
    assert len(line) < 600
    return line


def written(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def deflated(start: bytes, megabytes: int) -> bytes:
    """A stream of deflate: `start`, then zeros; made in no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + zeros * megabytes + packer.flush()


def gzipped(path: Path, start: bytes) -> Path:
    """Three gigabytes in three megabytes."""
    return written(path, b"\x1f\x8b\x08" + bytes(7), deflated(start, 3_000), bytes(8))


def test_a_batch_of_ten_bytes(tmp_path: Path) -> None:
    for asked in (b"Nr\xff\xff\xff\xff.", b"X\xff\xff\xff\xffa.", b"T\xff\xff\xff\x7fa."):
        path = written(tmp_path / "test_batch", b"\x80\x02", asked)
        refused(lambda path: cifar.read_batch(path, "labels"), path)


@pytest.mark.parametrize("count", [5, 2**20, 2**32 - 1])
def test_images_that_unpack_to_gigabytes(count: int, tmp_path: Path) -> None:
    head = bytes((0, 0, 8, 3)) + struct.pack(">III", count, 28, 28)
    path = gzipped(tmp_path / "images-idx3-ubyte.gz", head)
    assert path.stat().st_size < 4 << 20
    refused(lambda path: mnist.read_idx(path, 3), path)


def test_a_mat_file_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    head = struct.pack("<II", 14, 2**31) + struct.pack("<IIII", 6, 8, 9, 0)
    head += struct.pack("<IIiiii", 5, 16, 32, 32, 3, 2**20) + struct.pack("<HHI", 1, 1, ord("X"))
    packed = b"\x78\xda" + deflated(head + struct.pack("<II", 2, 2**31 - 8), 2_000) + bytes(4)
    start = b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x100, 0x4D49)
    path = written(tmp_path / "a.mat", start, struct.pack("<II", 15, len(packed)), packed)
    refused(_read_svhn, path)


def test_points_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)
    content, size = deflated(head, 3_000), len(head) + (3_000 << 20)
    name, kind = b"x_adv.npy", struct.pack("<HHHHHIII", 20, 0, 8, 0, 0, 0, len(content), size)
    entry = b"PK\x03\x04" + kind + struct.pack("<HH", len(name), 0) + name + content
    tail = b"PK\x01\x02\x14\0" + kind + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(tail), len(entry), 0)
    refused(_read_points, written(tmp_path / "a.npz", entry, tail, end))


def test_an_archive_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    packer = lzma.LZMACompressor(preset=0)
    content = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    path = written(tmp_path / "board.jsonl.xz", content)
    assert path.stat().st_size < 1 << 20
    assert "not a whole archive" in refused(Archive, path)


def test_a_picture_of_a_billion_pixels(tmp_path: Path) -> None:
    head = struct.pack(">II5B", 12_000, 12_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head
    body = chunk + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    path = written(tmp_path / "a.JPEG", b"\x89PNG\r\n\x1a\n", body)
    refused(lambda p: imagenet.decode([str(p)], None, (3, 64, 64), "imagenet"), path)


def test_tar_files_of_headers(tmp_path: Path) -> None:
    """One header of gigabytes; a header of a header of a header; files without end."""
    out, path = tmp_path / "out", tmp_path / "a.tar.gz"
    out.mkdir()
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    refused(lambda path: unpack(path, out), gzipped(path, info.tobuf()))
    info.size = 0
    path.write_bytes(gzip.compress(info.tobuf() * 20_000, 1))
    refused(lambda path: unpack(path, out), path)
    path.write_bytes(
        gzip.compress(b"".join(tarfile.TarInfo(f"f{i}").tobuf() for i in range(17_500)), 1)
    )
    refused(lambda path: unpack(path, out), path)
    assert len(list(out.iterdir())) < 17_500


@pytest.mark.parametrize("start", [b"[", b'{"a":', b'{"subsets": ['])
def test_a_subset_that_is_nested_without_end(start: bytes, tmp_path: Path) -> None:
    refused(_read_subset, written(tmp_path / "mnist.json", start * 100_000))


def test_arrays_of_nested_headers(tmp_path: Path) -> None:
    for nest in (b"(", b"-", b"{1:"):
        text = b"{'descr': '<f4', 'shape': " + nest * 3_000
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
        refused(_read_points, written(tmp_path / "a.npy", head))


@pytest.mark.parametrize(
    "read",
    [
        Slice.parse,
        ThreatModel.parse,
        parse_part,
        lambda text: load_subset("mnist", text),
        lambda text: zoo.find("digits", text),
        lambda text: zoo.find("digits", f"file:{text}"),
        lambda text: zoo.find("digits", "madry", Path(text)),
        lambda text: discover.load([text]),
        discover.find_attack,
        discover.find_dataset,
    ],
)
@pytest.mark.parametrize(
    "text", ["9" * 5_000, "2/" + "9" * 5_000, "x" * 300, "known:" * 5_000, "l2:" + "9" * 5_000]
)
def test_texts_that_nobody_means(read: Callable[[str], object], text: str) -> None:
    line = ""
    try:
        read(text)
    except BenchError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 1_000 + len(text)
