"""Files made by hand, and the one line that they have to end in."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find

LIMIT_S, LIMIT_BYTES = 20.0, 300 * 2**20
"""CPU time and growth of the process that any small file may cost."""


def refused(path: Path, says: str = ".") -> str:
    """The one line that a file ends in, within the limits."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BenchError, match=says) as caught:
        rebuild(find("cifar10", "any", path))
    line = str(caught.value)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 600
    assert time.process_time() - start < LIMIT_S
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < LIMIT_BYTES
    return line


def handmade(path: Path, *operations: bytes) -> Path:
    path.write_bytes(b"\x80\x02" + b"".join(operations) + b".")
    return path


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def whole(number: int) -> bytes:
    length = max((number.bit_length() + 8) // 8, 1)
    return b"\x8a" + bytes([length]) + number.to_bytes(length, "little", signed=True)
