"""What a worker on another machine shares with its driver: folder, variables, code and files."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from bench.errors import BenchError

PACKAGES = ("bench", "attacks", "defenses")


@dataclass(frozen=True)
class Place:
    """Where the driver stands. code: its version and a hash of the sources; files: path, sha256."""

    folder: str
    variables: tuple[tuple[str, str], ...]
    code: str
    files: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls, files: Iterable[str] = ()) -> Place:
        """This process, and `files` that every worker must hold as it does."""
        mine = tuple((key, os.environ[key]) for key in sorted(os.environ) if key[:6] == "BENCH_")
        return cls(os.getcwd(), mine, code(), tuple((file, _sha256(file)) for file in files))

    def enter(self) -> None:
        """Stand where the driver stands: its folder, where there is one here, and its variables.

        Raises:
            BenchError: other code than the driver's, or one of its files is missing or another.
        """
        if code() != self.code:
            raise BenchError(
                f"{platform.node()} runs purifybench {code()}, the driver {self.code}: install "
                "the same on every machine"
            )
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        os.environ.update(self.variables)
        for file, sha256 in self.files:
            if not Path(file).is_file():
                raise BenchError(f"{platform.node()} has no '{file}': every machine needs it there")
            if _sha256(file) != sha256:
                raise BenchError(f"{platform.node()} has another '{file}' than the driver")


@cache
def code() -> str:
    """The project's version and a hash of its sources, plug-ins that it ships included."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or ()):
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(root).as_posix()}".encode())
                digest.update(path.read_bytes())
    return f"{version('purifybench')} ({digest.hexdigest()[:12]})"


def _sha256(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {file}: {error.strerror or error}") from None
