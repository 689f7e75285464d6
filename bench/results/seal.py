"""A checksum inside a stored JSON object, so that an edited one is noticed. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.errors import BenchError

CHECKSUM = "checksum"
"""The last field of what is stored: 32 hex digits of the sha256 of all others."""


class BrokenError(BenchError):
    """A stored object that is not what was written: damaged, edited, or without its checksum."""


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with its checksum."""
    return {**data, CHECKSUM: _checksum(data)}


def require_sealed(data: Mapping[str, Any], where: str, *, unsealed: bool = False) -> None:
    """Refuse what was read when its checksum is of other content.

    unsealed: let pass what has none, as everything that was written before there were any.

    Raises:
        BrokenError: it was edited, or has no checksum.
    """
    if CHECKSUM not in data:
        if unsealed:
            return
        raise BrokenError(
            f"{where}: without a checksum, so from an older version, or edited; if you trust the "
            "folder: bench merge --unsealed DIR --into NEW"
        )
    if data[CHECKSUM] != _checksum({k: v for k, v in data.items() if k != CHECKSUM}):
        raise BrokenError(
            f"{where}: edited since it was written (its checksum is of other content)"
        )


def _checksum(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
