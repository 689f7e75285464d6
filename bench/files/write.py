"""Files that are whole or not there at all, and what dead processes leave of them."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError

PART = ".part"
"""Suffix of a file that is being written."""
OLD = 60
"""Seconds after which a part that nobody holds is of a dead process."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, then a rename.

    Raises:
        BenchError: the folder or the disk does not let it; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # Machines that share a folder may share a process number too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None


def remove_parts(folder: Path) -> None:
    """Remove below a folder what processes were writing when they died."""
    for path in folder.rglob(f".*{PART}"):
        with suppress(OSError), path.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > OLD:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where it is written to
                path.unlink()
