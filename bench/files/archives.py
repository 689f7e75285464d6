"""Archives from elsewhere: only plain files come out, only below the folder they are meant for."""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from bench.errors import BenchError, plain

GROWTH = 20
"""An archive that unpacks to more than this many times its size (and `SPARE`) is a bomb."""
SPARE = 64 << 20
BLOCK = 1 << 20
ENTRY = 4096
"""Bytes that a file costs on a disk beside its content: a million empty ones are a bomb too."""
LARGEST_HEADER = 16 << 20
"""Bytes that a header of a tar file may have: names and comments."""
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, ValueError, RuntimeError, NotImplementedError, struct.error, LookupError),
    *(RecursionError, MemoryError, OverflowError, TypeError, AttributeError),
)


def unpack(archive: Path, folder: Path) -> None:
    """The plain files of a tar or zip archive below `folder`, which had better be empty.

    Nothing but name and content is taken over: no owner, no mode.

    Raises:
        BenchError: a damaged archive, one that unpacks to far more than its size, or a member that
            is a link or a device, or whose name leads out of the folder.
    """
    limit = left = GROWTH * archive.stat().st_size + SPARE
    try:
        for name, content in _members(archive, limit):
            target = folder / _inside(archive, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("xb") as file:
                left -= _copy(content, file, left, archive) + ENTRY
            if left < 0:
                raise _bomb(archive)
    except FileExistsError:
        raise BenchError(f"{archive}: two members have one name") from None
    except _DAMAGED as error:
        raise _unpackable(archive, error) from None


def gunzip(packed: Path, target: Path) -> None:
    """The content of one .gz file.

    Raises:
        BenchError: a damaged file, or one that unpacks to far more than its size.
    """
    limit = GROWTH * packed.stat().st_size + SPARE
    try:
        with gzip.open(packed) as content, target.open("xb") as file:
            _copy(content, file, limit, packed)
    except _DAMAGED as error:
        raise _unpackable(packed, error) from None


def _bomb(archive: Path) -> BenchError:
    return BenchError(f"{archive} unpacks to far more than its size; it is refused")


def _unpackable(archive: Path, error: BaseException) -> BenchError:
    reason = plain(" ".join(str(error).split()) or type(error).__name__, 200)
    return BenchError(f"{archive} cannot be unpacked: {reason}")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.endswith(ARCHIVES)


def _members(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file; folders come with what is in them."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                kind = entry.external_attr >> 28
                if kind not in (0, 0o4, 0o10):
                    raise BenchError(f"{archive}: '{plain(entry.filename)}' is a link or a device")
                if not entry.is_dir():
                    yield entry.filename, packed.open(entry)
        return
    with (
        _opened(archive) as stream,
        tarfile.open(fileobj=_Narrow(stream, limit), mode="r:") as tape,
    ):
        for member in tape:
            content = tape.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content
            elif not member.isdir():
                raise BenchError(f"{archive}: '{plain(member.name)}' is a link or a device")


def _opened(archive: Path) -> IO[bytes] | gzip.GzipFile:
    """By its first bytes, whatever its name says."""
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(archive) if packed else archive.open("rb")


class _Narrow(io.RawIOBase):
    """A tar file whose headers are small, and which is not far larger than its archive."""

    def __init__(self, content: IO[bytes] | gzip.GzipFile, limit: int) -> None:
        super().__init__()
        self.content, self.limit = content, limit

    def read(self, size: int = -1) -> bytes:
        """A ValueError for more than any header has, which would be taken from memory at once."""
        if not 0 <= size <= LARGEST_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        return self.content.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """To what follows, within the limit."""
        if whence or offset > self.limit:
            raise ValueError("more than an archive of its size holds")
        return self.content.seek(offset)

    def tell(self) -> int:
        """Where it stands."""
        return self.content.tell()


def _inside(archive: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or {"..", "\\", ":", "\0"} & {*path.parts, *name}:
        raise BenchError(f"{archive}: '{plain(name)}' leads out of the folder")
    return Path(path)


def _copy(content: IO[bytes] | gzip.GzipFile, file: IO[bytes], limit: int, archive: Path) -> int:
    done = 0
    while block := content.read(BLOCK):
        done += len(block)
        if done > limit:
            raise _bomb(archive)
        file.write(block)
    return done


def merge(staged: Path, into: Path) -> None:
    """Move what lies in `staged` into `into`, over what is there; whole folders where they fit."""
    for item in sorted(staged.iterdir()):
        target = into / item.name
        if item.is_dir() and target.is_dir():
            merge(item, target)
            continue
        if target.is_dir():
            shutil.rmtree(target)
        item.replace(target)
