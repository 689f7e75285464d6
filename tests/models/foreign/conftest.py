"""A home and a data set for files that others made, and the file that harm would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.api import Context, names
from bench.api import dataset as register
from bench.api import register as declare
from bench.api.images import Dataset, Images
from bench.measure import build
from tests.models.foreign.files import INFO


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A data set under the name of CIFAR-10, with two grey images."""
    build.dataset.cache_clear()  # of the real one, if an earlier test has asked for it
    build._context.cache_clear()
    names("dataset")
    others = {n: p for n, p in declare.PLUGINS["dataset"].items() if n != "cifar10"}
    monkeypatch.setitem(declare.PLUGINS, "dataset", others)

    def load(split: str) -> Images:
        grey = torch.full((2, 3, 32, 32), 0.5)
        return Images(grey, torch.tensor([0, 1]), torch.arange(2))

    register("cifar10", info=INFO)(lambda: Dataset(INFO, load))
    yield build.context("cifar10")
    build.dataset.cache_clear()
    build._context.cache_clear()


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that harm would write; nothing may have written it in the end."""
    path = tmp_path / "harm"
    monkeypatch.chdir(tmp_path)
    yield path
    assert not path.exists(), "the file's code ran"
