"""TensorFlow's checkpoints: `NAME.index`, and the numbers in `NAME.data-00000-of-00001` beside it.

The index is a sorted table as LevelDB writes them: blocks of entries, whose keys leave out what
they share with the one before, and a last block that says where the others are. An entry is a
protocol buffer: type, shape, file, place and length of a tensor. Nothing is run, and no tensor is
given that does not lie in its file as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from glob import escape
from pathlib import Path

import torch
from torch import Tensor

from bench.models.foreign.storages import UnreadableError

SUFFIX = ".index"
FOOTER, MAGIC = 48, (0xDB4775248B80FB57).to_bytes(8, "little")
LARGEST, LONGEST_KEY, MOST_FILES, MOST_TENSORS = 1 << 24, 1000, 100, 20_000
"""Bytes of an index, characters of a name, files of numbers, entries."""
TYPES = {1: torch.float32, 2: torch.float64, 3: torch.int32, 9: torch.int64, 19: torch.float16}
"""By number in TensorFlow's list; others are left out."""
SLICES = 7
"""The field of a tensor that is stored in parts."""
FIXED = {1: 8, 5: 4}
"""Bytes of the kinds of fields that do not say their length."""
DAMAGED = "damaged (a table that ends too early)"
Fields = dict[int, list[int | bytes]]
"""Of a protocol buffer: values by number, in order."""


def files(path: Path) -> list[Path]:
    """Of an index, itself and its files of numbers in order; of another file, itself."""
    if path.suffix != SUFFIX:
        return [path]
    return [
        path,
        *sorted(path.parent.glob(f"{escape(path.stem)}.data-?????-of-?????"))[:MOST_FILES],
    ]


def read(index: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name.

    Raises UnreadableError where it is none, or is damaged; OSError where a file cannot be read.
    """
    if index.stat().st_size > LARGEST:
        raise UnreadableError("too large for an index")
    table, numbers = index.read_bytes(), [path.read_bytes() for path in files(index)[1:]]
    if len(table) < FOOTER or table[-8:] != MAGIC:
        raise UnreadableError("no index of a TensorFlow checkpoint")
    if not numbers:
        raise UnreadableError(f"alone: its {index.stem}.data-00000-of-00001 is not beside it")
    left = sum(map(len, numbers))
    found = {}
    try:
        for count, (key, entry) in enumerate(_entries(table)):
            if count > MOST_TENSORS:
                raise UnreadableError("of more tensors than a network has")
            told = _fields(entry)
            if not key or (dtype := TYPES.get(_number(told, 1))) is None:
                continue  # the first entry is of the whole
            if SLICES in told or len(key) > LONGEST_KEY:
                raise UnreadableError("one with tensors in slices, which is not read here")
            found[key.decode()] = tensor = _tensor(told, dtype, numbers)
            left -= tensor.nbytes
            if left < 0:
                raise UnreadableError("damaged (tensors lie in each other)")
    except (IndexError, UnicodeDecodeError):
        raise UnreadableError(DAMAGED) from None
    return found


def _tensor(told: Fields, dtype: torch.dtype, numbers: list[bytes]) -> Tensor:
    """A copy of the numbers that an entry tells of."""
    (described,) = _parts(told, 2)[-1:] or [b""]
    shape = [_number(_fields(part), 1) for part in _parts(_fields(described), 2)]
    file, start, length = (_number(told, field) for field in (3, 4, 5))
    content = numbers[file][start : start + length]
    if len(content) != length or length != math.prod(shape) * dtype.itemsize:
        raise UnreadableError("damaged (a tensor is not whole)")
    if not length:  # whatever its other dimensions
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).view(shape)


def _number(told: Fields, field: int) -> int:
    """The last number of a field; what is left out is 0."""
    value = told.get(field, [0])[-1]
    return value if isinstance(value, int) else 0


def _parts(told: Fields, field: int) -> list[bytes]:
    """The messages of a field."""
    return [value for value in told.get(field, []) if isinstance(value, bytes)]


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of all blocks, in order."""
    footer = table[-FOOTER:]
    at = 0
    for _ in range(2):  # where a block of facts lies, which is empty
        _, at = _varint(footer, at)
    for _, place in _block(table, footer[at:]):
        yield from _block(table, place)


def _block(table: bytes, place: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that `place` tells offset and size of."""
    start, at = _varint(place, 0)
    size, _ = _varint(place, at)
    if table[start + size]:
        raise UnreadableError("a packed table, which is not read here")
    block = table[start : start + size]
    end = size - 4 * (1 + int.from_bytes(block[-4:], "little"))
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, low ones first, and where the next one begins."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise UnreadableError("damaged (a number without an end)")


def _fields(data: bytes) -> Fields:
    """What a protocol buffer holds: numbers, and the bytes of everything else."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            size = FIXED.get(tag & 7)
            if size is None:
                size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found
