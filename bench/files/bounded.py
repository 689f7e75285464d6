"""What readers of files keep to: nothing takes more memory or stack than its file may ask for."""

from __future__ import annotations

import json
import tomllib
import zlib
from pathlib import Path
from typing import Any, Protocol

from bench.errors import BenchError

LARGEST = 1 << 30
"""Bytes that the content of a compressed file may have, unless a reader says less."""
DEEPEST = 100
"""Levels of lists and tables within each other. What is written here has some five."""
BLOCK = 1 << 20
_OPENS, _CLOSES = b"[{", b"]}"
_OTHERS = bytes(set(range(256)) - set(_OPENS + _CLOSES))


class Readable(Protocol):
    """A stream of bytes, packed or not."""

    def read(self, size: int, /) -> bytes:
        """At most so many of the next bytes; none at the end."""
        ...


def content_of(path: Path, most: int = LARGEST) -> bytes:
    """All of a file.

    Raises:
        BenchError: it cannot be read, is no plain file, or has more than `most` bytes.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe would never end
            raise BenchError(f"cannot read {path}: it is no file")
        with path.open("rb") as file:
            return expanded(file, most)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise BenchError(f"cannot read {path}: {error}") from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file system takes is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def text_of(path: Path, most: int = LARGEST) -> str:
    """All of a file of UTF-8; errors as `content_of`."""
    try:
        return content_of(path, most).decode()
    except UnicodeDecodeError:
        raise BenchError(f"cannot read {path}: it is no text in UTF-8") from None


def expanded(stream: Readable, most: int = LARGEST) -> bytes:
    """What is left in a stream, unpacked block by block; ValueError beyond `most` bytes."""
    blocks: list[bytes] = []
    left = most
    while block := stream.read(min(BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            raise ValueError(f"more than {most:,} bytes")
        blocks.append(block)
    return b"".join(blocks)


def inflated_size(stream: Readable, length: int, most: int = LARGEST) -> int:
    """The size of the next `length` bytes once zlib unpacks them; nothing of it is kept.

    Raises:
        ValueError: damaged, or more than `most` bytes.
    """
    inflater, size = zlib.decompressobj(), 0
    while length > 0 and (block := stream.read(min(BLOCK, length))):
        length -= len(block)
        while block:
            try:
                size += len(inflater.decompress(block, BLOCK))
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if size > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            block = inflater.unconsumed_tail
    return size


def json_of(text: str | bytes) -> Any:
    """The value of a text of JSON; ValueError where it is none or nested too deep."""
    _require_flat(text)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def toml_of(text: str) -> dict[str, Any]:
    """The table of a text of TOML; ValueError where it is none or nested too deep."""
    _require_flat(text)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _require_flat(text: str | bytes) -> None:
    """Brackets in texts count too: nobody writes so many that are never closed."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    depth = 0
    for bracket in raw.translate(None, _OTHERS):
        depth += 1 if bracket in _OPENS else -1
        if depth > DEEPEST:
            raise ValueError("nested too deep")
