"""Which data set `bench table` is about where nobody says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.table import dataset_of
from bench.errors import BenchError
from bench.results.store import Store


def held(folder: Path, *names: str) -> Store:
    for name in names:
        (folder / name / "plans").mkdir(parents=True)
    return Store(folder)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), "patches"),
        (("leaves",), "leaves"),
        (("patches",), "patches"),
        (("leaves", "patches"), "patches"),
    ],
)
def test_it_is_the_one_that_was_measured_else_the_default(
    names: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    assert dataset_of(held(tmp_path, *names), None, tmp_path) == found


def test_a_file_names_it(tmp_path: Path) -> None:
    source = held(tmp_path, "leaves")
    assert dataset_of(source, None, Path("records/digits.jsonl.xz")) == "digits"
    assert dataset_of(source, Path("cifar10.md"), tmp_path) == "cifar10"


def test_several_without_the_default_must_be_chosen_from(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="results of 2 data sets: --dataset with leaves, trees"):
        dataset_of(held(tmp_path, "leaves", "trees"), None, tmp_path)
