"""Users' first hours, each from an empty folder with the wheel and nothing of the tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import load
from tests.api.own_data.pictures import forest, pixels
from tests.cli.test_cli import bench, one_line
from tests.docs.test_contributing import EXAMPLES, IN_TREE, copied, tiny_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("installed")]

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
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
OWN = '''
import bench, torch
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
y = torch.tensor(digits.target)
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[64:]), y[64:]).backward()
    optimizer.step()


class Blur(nn.Module):
    """The mean of nine pixels."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 3, stride=1, padding=1)


for purifier in (None, "jpeg", Blur()):
    found = bench.evaluate(
        model, purifier, dataset=(x[:64], y[:64]),
        preset="quick", threat="linf:0.1", progress=False,
    )
    print(f"{found.clean:.3f} {found.worst.value:.3f} {found.worst.low:.3f} {found.worst.high:.3f}")
    found.save("results")
'''
QUICK = ("--preset", "quick", "--images", "32", "--control", "off")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which an installer would have put the wheel."""
    tree, where = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    copied(tree, "leaderboards", "pyproject.toml", "README.md")
    for file in IN_TREE:
        (tree / file).unlink()
    subprocess.run(
        [sys.executable, "-c", BUILD, str(where)], cwd=tree, check=True, capture_output=True
    )
    (wheel,) = where.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(where / "site")
    return where / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the wheel before the tree."""
    monkeypatch.setenv("PYTHONPATH", str(site))


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


def test_a_state_dict_of_an_unknown_network_is_told_what_to_write(tmp_path: Path) -> None:
    file = tiny_file(tmp_path).partition("=")[2]
    desk = Desk(tmp_path)
    refused = desk.typed("run", "--defense", f"none@file:{file}", *QUICK, "--dataset", "digits")
    said = one_line(refused)
    assert 'filled(Net(), context.weights("mine"))' in said
    assert "--plugin mynet.py --defense none@mine --weights mine=FILE" in said


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


def python(folder: Path, *arguments: str) -> str:
    """What a Python command prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "BENCH_HOME": str(folder / "home")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_runs(tmp_path: Path, site: Path) -> None:
    assert python(tmp_path, "-c", "import bench; print(bench.__file__)").startswith(str(site))


def test_from_python_a_model_bare_behind_a_control_and_behind_a_module(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    printed = python(tmp_path, "own.py")
    rows = [[float(word) for word in line.split()] for line in printed.splitlines()]
    assert len(rows) == 3
    for clean, worst, low, high in rows:
        assert low <= worst <= high
        assert worst < clean
    assert rows[0][0] > 0.8
    board = bench("table", cwd=tmp_path).stdout
    names = ("my-blur", "jpeg", "none")
    assert [name for name in names if f"{name}@my-sequential" not in board] == []


def test_a_reviewer_measures_a_published_row_again(tmp_path: Path, site: Path) -> None:
    records = site / "leaderboards/records/patches.jsonl.xz"
    board = bench("table", "--results", str(records), cwd=tmp_path).stdout
    assert "Best purifier: " in board
    row = ("--defense", "jpeg", "--attacks", "clean,square,bpda", "--dataset", "patches")
    assert bench("run", *row, *QUICK, cwd=tmp_path).returncode == 0
    again, published = figures(tmp_path / "results"), figures(records)
    both = again.index.intersection(published.index)
    assert len(both) == 5  # the board was measured before `none` ran under bpda as well
    assert again[both].to_dict() == published[both].to_dict()


def figures(results: Path) -> pd.Series[float]:
    """Accuracies of 32 images at the quick preset, by defense and attack."""
    frame = load(results)
    frame = frame[(frame.metric == "accuracy") & (frame.preset == "quick") & (frame.n == 32)]
    frame = frame[frame.attack.isin(["clean", "square", "bpda"])]
    return frame.set_index(["defense", "attack"]).measured.astype(float)
