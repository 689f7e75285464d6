"""The tours of somebody with images of her own: one plug-in, then train, run and table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.api.own_data.pictures import forest, pixels
from tests.cli.test_cli import bench, one_line

PLUGIN = """
from bench.api import dataset
from bench.api.images import Dataset
from bench.api.own_data import {helper}

DATA = {helper}("mine", {path!r}, threat="linf:8/255")


@dataset("mine", info=DATA.info)
def mine() -> Dataset:
    '''Trees.'''
    return DATA
"""
ASKED = ("--dataset", "mine", "--plugin", "my.py")
RUN = ("run", "--attacks", "clean,classifier-pgd", "--preset", "quick", *ASKED)


def written(folder: Path, helper: str, path: str) -> None:
    (folder / "my.py").write_text(PLUGIN.format(helper=helper, path=path))


def test_a_data_set_is_listed_with_how_it_was_dealt(tmp_path: Path) -> None:
    forest(tmp_path / "images", each=40)
    written(tmp_path, "from_folder", "images")
    home = str(tmp_path / "home")
    listed = bench("list", "datasets", "--plugin", "my.py", "--json", cwd=tmp_path, BENCH_HOME=home)
    (entry,) = (e for e in json.loads(listed.stdout)["datasets"] if e["name"] == "mine")
    assert entry["shape"] == [3, 8, 8]
    assert "by the digests of the images" in entry["split"]


@pytest.mark.slow
def test_missing_weights_and_an_empty_class_are_one_line(tmp_path: Path) -> None:
    forest(tmp_path / "images", each=40)
    written(tmp_path, "from_folder", "images")
    home = str(tmp_path / "home")
    lacking = bench(*RUN, "--defense", "none", cwd=tmp_path, BENCH_HOME=home)
    says = one_line(lacking)
    assert says.endswith("train them: bench train natural --dataset mine --plugin my.py")
    shutil.rmtree(tmp_path / "images" / "oak")
    (tmp_path / "images" / "oak").mkdir()
    empty = bench(*RUN, "--defense", "none", cwd=tmp_path, BENCH_HOME=home)
    assert "data set 'mine': class 'oak' is empty" in one_line(empty)


@pytest.mark.slow
def test_a_folder_is_trained_on_measured_and_measured_again_once_changed(tmp_path: Path) -> None:
    forest(tmp_path / "images", each=200)
    written(tmp_path, "from_folder", "images")
    home = str(tmp_path / "home")
    trained = bench("train", "natural", *ASKED, "--steps", "100", cwd=tmp_path, BENCH_HOME=home)
    assert trained.returncode == 0, trained.stderr
    assert '"clean": 100.0' in trained.stdout
    run = bench(*RUN, "--defense", "none,median", cwd=tmp_path, BENCH_HOME=home)
    assert run.returncode == 0, run.stderr
    assert "test (20 %) and validation (10 %) by the digests of the images" in run.stderr
    board = bench("table", "--dataset", "mine", cwd=tmp_path, BENCH_HOME=home)
    assert "median@natural" in board.stdout, board.stderr
    again = bench(*RUN, "--defense", "none,median", cwd=tmp_path, BENCH_HOME=home)
    assert " 0 shards to measure" in again.stderr
    for file in sorted((tmp_path / "images" / "yew").iterdir())[:100]:
        file.unlink()
    other = bench(*RUN, "--defense", "none", "--control", "off", cwd=tmp_path, BENCH_HOME=home)
    assert other.returncode == 0, other.stderr
    assert ", 0 finished before" in other.stderr


@pytest.mark.slow
def test_arrays_are_trained_on_and_measured(tmp_path: Path) -> None:
    x = np.stack([pixels(label, i, side=16) for i in range(200) for label in range(3)])
    np.savez_compressed(tmp_path / "mine.npz", x=x, y=np.arange(len(x)) % 3)
    written(tmp_path, "from_npz", "mine.npz")
    home = str(tmp_path / "home")
    trained = bench("train", "cnn", *ASKED, "--steps", "40", cwd=tmp_path, BENCH_HOME=home)
    assert trained.returncode == 0, trained.stderr
    run = bench(*RUN, "--defense", "median@cnn", cwd=tmp_path, BENCH_HOME=home)
    assert run.returncode == 0, run.stderr
    board = bench("table", "--dataset", "mine", cwd=tmp_path, BENCH_HOME=home)
    assert "median@cnn" in board.stdout, board.stderr
