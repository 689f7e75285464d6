"""RobustBench's package is its own: another one may have written over its files."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from importlib.metadata import Distribution
from pathlib import Path

from bench.models.zoo.robustbench import overwritten


def installed(folder: Path, *, says: str) -> Distribution:
    """A package of one module, whose list says that it holds the text `says`."""
    (folder / "toy.py").write_text("x = 1")
    info = folder / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(says.encode()).digest()).decode().rstrip("=")
    (info / "RECORD").write_text(f"toy.py,sha256={digest},5\ntoy-1.0.dist-info/RECORD,,\n")
    return Distribution.at(info)


def test_a_file_that_is_not_that_of_its_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    assert overwritten(installed(tmp_path, says="x = 1")) == []
    assert overwritten(installed(tmp_path / "old", says="x = 0")) == ["toy.py"]


def test_here_it_is_its_own() -> None:
    """torchattacks ships an older copy; `make setup` writes RobustBench's own last."""
    assert overwritten(importlib.metadata.distribution("robustbench")) == []
