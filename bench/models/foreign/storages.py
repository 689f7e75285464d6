"""Where the numbers of a torch file lie: entries of a zip file, or one after the other."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Sequence
from typing import IO, Protocol

import torch
from torch import Tensor


class UnreadableError(Exception):
    """A damaged file or a suspicious one; the reason stands behind "the file is"."""


class Storages(Protocol):
    """Flat tensors by key."""

    def numbers(self, key: str, dtype: torch.dtype) -> Tensor:
        """All of a storage; UnreadableError when there is none of that key."""


class Nowhere:
    """The storages of a bare pickle, which holds them inside."""

    def numbers(self, key: str, dtype: torch.dtype) -> Tensor:
        """There are none."""
        raise UnreadableError("a pickle whose tensors are elsewhere")


class Stream:
    """Storages one after the other, behind the pickles: a count, then the numbers."""

    def __init__(
        self, content: IO[bytes], size: int, types: Sequence[tuple[str, torch.dtype]]
    ) -> None:
        """`types`: key and type of every storage in order; `content` stands before the first."""
        self.content, self.places = content, dict[str, tuple[int, int]]()
        at = content.tell()
        for key, dtype in types:
            content.seek(at)
            length = int.from_bytes(content.read(8), "little") * dtype.itemsize
            if at + 8 + length > size:
                raise UnreadableError("damaged (it ends too early)")
            self.places[key] = (at + 8, length)
            at += 8 + length

    def numbers(self, key: str, dtype: torch.dtype) -> Tensor:
        """A copy of them."""
        if key not in self.places:
            raise UnreadableError("damaged (a storage is missing)")
        at, length = self.places[key]
        self.content.seek(at)
        return _numbers(self.content.read(length), dtype)


class Zip:
    """The entries `data/KEY` of a zip file, and `data.pkl` beside them."""

    def __init__(self, content: IO[bytes], size: int) -> None:
        """Of a file of `size` bytes; UnreadableError unless it is what torch writes."""
        try:
            self.file = zipfile.ZipFile(content)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise UnreadableError(f"damaged ({error})") from None
        _require_plain(self.file, size)
        names = self.file.namelist()
        found = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        if len(found) != 1:
            raise UnreadableError("a zip file without the pickle of a checkpoint")
        self.prefix = found[0].removesuffix("data.pkl")
        order = f"{self.prefix}byteorder"
        if order in names and self._read(order) != b"little":
            raise UnreadableError("of a machine of the other byte order")

    def pickle(self) -> IO[bytes]:
        """The pickle that describes what is in the file."""
        return io.BytesIO(self._read(f"{self.prefix}data.pkl"))

    def numbers(self, key: str, dtype: torch.dtype) -> Tensor:
        """A copy of them, checked by the file's own sums."""
        return _numbers(self._read(f"{self.prefix}data/{key}"), dtype)

    def _read(self, name: str) -> bytes:
        try:
            return self.file.read(name)
        except KeyError:
            raise UnreadableError("damaged (a storage is missing)") from None
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise UnreadableError(f"damaged ({error})") from None


def _require_plain(file: zipfile.ZipFile, size: int) -> None:
    """Only what torch writes: each entry once, as it is, under a plain name, within the file."""
    entries = file.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise UnreadableError("a zip file with two entries of one name")
    for entry in entries:
        link = stat.S_ISLNK(entry.external_attr >> 16)
        parts = entry.filename.replace("\\", "/").split("/")
        if link or ".." in parts or not parts[0]:
            raise UnreadableError(f"a zip file with the entry '{entry.filename[:60]}'")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise UnreadableError("a compressed zip file, which no checkpoint is")
    if sum(entry.file_size for entry in entries) > size:
        raise UnreadableError("a zip file whose entries declare more than it holds")


def _numbers(content: bytes, dtype: torch.dtype) -> Tensor:
    if len(content) % dtype.itemsize:
        raise UnreadableError("damaged (a storage of part of a number)")
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)  # a copy that may be written to
