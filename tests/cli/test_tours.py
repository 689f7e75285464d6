"""From an empty folder: a classifier, a purifier, a network, an attack and images of one's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.api.own_data.pictures import forest, pixels
from tests.cli.test_cli import bench, one_line
from tests.docs.test_contributing import EXAMPLES, IN_TREE, tiny_file

ARRAYS = """
from bench.api import dataset
from bench.api.images import Dataset
from bench.api.own_data import from_npz

DATA = from_npz("leaves", "leaves.npz", threat="linf:8/255", classes=tuple("0123456789"))


@dataset("leaves", info=DATA.info)
def leaves() -> Dataset:
    '''Ten kinds of leaves.'''
    return DATA
"""
QUICK = ("--preset", "quick", "--images", "32", "--control", "off")


class Desk:
    """A folder with files, in which commands are typed."""

    def __init__(self, folder: Path, *files: str) -> None:
        self.folder = folder
        self.plugins: list[str] = []
        for name in files:
            self.write(Path(name).name, EXAMPLES[name])

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        self.plugins += ["--plugin", name]

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        home = str(self.folder / "home")
        return bench(*words, *self.plugins, cwd=self.folder, BENCH_HOME=home)

    def done(self, *words: str) -> str:
        """What a command that must succeed prints."""
        result = self.typed(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def board(self, dataset: str) -> str:
        home = str(self.folder / "home")
        words = ("table", "--dataset", dataset)
        return bench(*words, cwd=self.folder, BENCH_HOME=home).stdout


@pytest.mark.slow
def test_a_classifier_of_ones_own_bare_behind_a_filter_and_behind_a_purifier(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, "bench/models/classifiers/tiny.py", "defenses/shift.py")
    asked = ("run", "--defense", "none@tiny,jpeg@tiny,shift@tiny", "--attacks", "clean,bpda")
    where = (*QUICK, "--dataset", "digits")
    lacking = desk.typed(*asked, *where)
    assert "--weights tiny=FILE" in one_line(lacking)
    run = desk.done(*asked, *where, "--weights", tiny_file(tmp_path), "--json")
    assert json.loads(run)["failures"] == []
    board = desk.board("digits")
    assert all(f"{name}@tiny" in board for name in ("none", "jpeg", "shift"))


@pytest.mark.slow
def test_a_state_dict_of_an_unknown_network_is_told_what_to_write(tmp_path: Path) -> None:
    file = tiny_file(tmp_path).partition("=")[2]
    desk = Desk(tmp_path)
    refused = desk.typed("run", "--defense", f"none@file:{file}", *QUICK, "--dataset", "digits")
    said = one_line(refused)
    assert 'filled(Net(), context.weights("mine"))' in said
    assert "--plugin mine.py --defense none@mine --weights mine=FILE" in said


@pytest.mark.slow
def test_everything_of_ones_own_on_a_folder(tmp_path: Path) -> None:
    forest(tmp_path / "images", each=150)
    desk = Desk(tmp_path, *EXAMPLES)
    desk.done("train", "natural", "renoise", "--dataset", "trees", "--steps", "40")
    asked = ("--defense", "renoise,median", "--attacks", "clean,bpda-eot,corners")
    desk.done("run", *asked, *QUICK, "--dataset", "trees")
    board = desk.board("trees")
    assert all(name in board for name in ("renoise@natural", "median@natural", "corners"))
    planned = desk.done("plan", *asked, "--dataset", "trees")
    assert "trees" in planned


@pytest.mark.slow
def test_everything_of_ones_own_on_arrays(tmp_path: Path) -> None:
    labels = np.arange(600) % 10
    x = np.stack([pixels(int(label), i, channels=1) for i, label in enumerate(labels)])
    np.savez(tmp_path / "leaves.npz", x=x, y=labels)
    desk = Desk(tmp_path, *IN_TREE)
    desk.write("leaves.py", ARRAYS)
    desk.done("train", "renoise", "--dataset", "leaves")
    asked = ("--defense", "renoise@tiny,shift@tiny", "--attacks", "clean,corners")
    weights = ("--weights", tiny_file(tmp_path))
    desk.done("run", *asked, *weights, *QUICK, "--dataset", "leaves")
    assert "renoise@tiny" in desk.board("leaves")
