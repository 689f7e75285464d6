"""Where things lie on this machine: the home of weights, the root of fetched data."""

from __future__ import annotations

import os
from pathlib import Path

HOME, DATA = "BENCH_HOME", "BENCH_DATA"
"""Environment variables; `--data-root` sets the second one for its process and its workers."""


def home() -> Path:
    """`$BENCH_HOME`, or `purifybench` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(HOME) or Path(cache) / "purifybench")


def data_root() -> Path:
    """`$BENCH_DATA`, or `data` in the home: the folder that torchvision calls `root`."""
    return Path(os.environ.get(DATA) or home() / "data")
