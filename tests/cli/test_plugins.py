"""Plug-ins from files and folders, good and bad, and what `bench list` says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import api
from bench.api import discover, register
from bench.cli.list import KINDS, list_command
from bench.errors import BenchError
from tests.cli.test_cli import bench

ATTACK = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from bench.api.attacked import Attacked
from bench.api import attack

@dataclass(frozen=True)
class Shift:
    weight: float
    unit: ClassVar[str] = "eps"

    def __call__(self, defense, x, y, threat):
        return Attacked(threat.project(x + self.weight * threat.eps, x))

@attack("shift-of-the-test")
def shift(*, weight: float = 1.0) -> Shift:
    '''Brighter.'''
    return Shift(weight)
"""


def test_a_file_with_a_dataclass_and_postponed_annotations(tmp_path: Path) -> None:
    file = tmp_path / "shift.py"
    file.write_text(ATTACK)
    api.load([str(file)])
    assert api.find_attack("shift-of-the-test").hints == {"weight": float}
    register.PLUGINS["attack"].pop("shift-of-the-test")


@pytest.mark.parametrize("text", ["import sys; sys.exit(3)", "raise ValueError('a\\nb')", "def ("])
def test_a_file_that_does_not_import_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(BenchError, match=r"bad\.py' fails to import: \w+: ") as raised:
        api.load([str(file)])
    assert "\n" not in str(raised.value)


def test_a_broken_module_of_a_folder_is_listed_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sick_of_the_test.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discover, "BROKEN", [])
    discover._import("sick_of_the_test")
    assert api.broken() == (api.Broken("sick_of_the_test", "SystemExit: 3"),)
    with pytest.raises(BenchError, match="'sick-of-the-test' is broken: SystemExit"):
        api.find_defense("sick-of-the-test")
    assert api.find_defense("none").name == "none"


@pytest.mark.parametrize("dataset", api.names("dataset"))
@pytest.mark.parametrize("preset", ["", *api.PRESETS])
def test_everything_is_listed_for_every_data_set(dataset: str, preset: str) -> None:
    arguments = ["--dataset", dataset, "--preset", preset, "--json"]
    result = CliRunner().invoke(list_command, arguments, catch_exceptions=False)
    listed = json.loads(result.stdout)
    for plural, kind in KINDS.items():
        assert len(listed[plural]) == len(api.names(kind, patterns=True))


def test_what_is_not_for_a_data_set_is_listed_with_its_reason() -> None:
    result = CliRunner().invoke(list_command, ["classifiers", "--dataset", "cifar10"])
    assert "not here: cnn is the small network of small images; on cifar10 use vgg" in result.stdout


BESIDE = """
from bench.api.attacked import Attacked
from bench.api import attack
import helper_of_the_test
from helper_of_the_test import AMOUNT
import inner_of_the_test.deep
import numpy as np

@attack("beside-{amount}-of-the-test")
def beside(*, amount: float = AMOUNT):
    '''Reads what lies beside it.'''
    import late_of_the_test
    assert np.asarray([1]).size == 1
    return (amount, helper_of_the_test.twice(), inner_of_the_test.deep.VALUE, late_of_the_test.HERE)
"""


def beside(folder: Path, amount: float) -> str:
    """A plug-in, files beside it that have the same names in every folder, and a false NumPy."""
    (folder / "inner_of_the_test").mkdir(parents=True)
    (folder / "inner_of_the_test" / "__init__.py").write_text("")
    (folder / "inner_of_the_test" / "deep.py").write_text(f"VALUE = {amount}")
    (folder / "constant_of_the_test.py").write_text(f"AMOUNT = {amount}")
    helper = "from constant_of_the_test import AMOUNT\ndef twice():\n    return 2 * AMOUNT\n"
    (folder / "helper_of_the_test.py").write_text(helper)
    (folder / "late_of_the_test.py").write_text(f"HERE = {amount}")
    (folder / "numpy.py").write_text("raise ImportError('this is not NumPy')")
    (folder / "mine.py").write_text(BESIDE.replace("{amount}", f"{amount:.0f}"))
    return str(folder / "mine.py")


@pytest.mark.parametrize("inside", [False, True])
def test_neighbours_are_imported_by_name_and_never_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    files = [beside(tmp_path / name, amount) for name, amount in (("one", 1), ("two", 2))]
    if inside:  # as `python -m bench` has it
        monkeypatch.chdir(tmp_path / "one")
        monkeypatch.syspath_prepend(tmp_path / "one")
    api.load(files)
    for amount in (1.0, 2.0):
        plugin = register.PLUGINS["attack"].pop(f"beside-{amount:.0f}-of-the-test")
        assert plugin.defaults == {"amount": amount}
        assert plugin.factory(amount=amount) == (amount, 2 * amount, amount, amount)
    assert {Path(file).name for file in api.sources() if str(tmp_path) in file} == {
        *("mine.py", "helper_of_the_test.py", "constant_of_the_test.py", "late_of_the_test.py"),
        *("__init__.py", "deep.py"),
    }
    assert "helper_of_the_test" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_neighbour_that_fails_says_which(tmp_path: Path) -> None:
    (tmp_path / "weak_of_the_test.py").write_text("import nothing_of_the_test")
    (tmp_path / "mine.py").write_text("from weak_of_the_test import thing")
    with pytest.raises(BenchError, match=r"mine\.py' fails to import:.*nothing_of_the_test"):
        api.load([str(tmp_path / "mine.py")])


BARE = """
import torch
from torch import nn
from bench.api.images import Dataset, DatasetInfo, Images
from bench.api import classifier, dataset

INFO = DatasetInfo("stripes", "stripes", (1, 8, 8), ("across", "down"), "linf:0.1",
                   embedded=True, published=64, subset="test")

def load(split):
    y = torch.arange(64) % 2
    across = (torch.arange(8) % 2).float().expand(8, 8)
    x = torch.stack([across.T if label else across for label in y.tolist()])[:, None]
    return Images(x, y, torch.arange(64))

@dataset("stripes", info=INFO)
def stripes():
    '''Made, not fetched.'''
    return Dataset(INFO, load)

@classifier("bare")
def bare(context):
    '''Needs no weights.'''
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.stack([load("test").x[i].flatten() for i in (0, 1)]))
        network[1].bias.zero_()
    return network
"""


@pytest.mark.slow
def test_a_missing_weight_file_of_a_group_is_a_skip_that_plan_foresees(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(BARE)
    home = str(tmp_path / "home")
    about = ["--defense", "none@bare", "--dataset", "stripes", "--plugin", "bare.py"]

    def asked(command: str, *more: str) -> subprocess.CompletedProcess[str]:
        return bench(command, *about, *more, cwd=tmp_path, BENCH_HOME=home)

    lacking = {
        "transfer:source=same": "no weights 'twin'",
        "transfer:source=other": "weights 'cnn'",
    }
    planned = asked("plan", "--attacks", "blind")
    done = asked("run", "--attacks", "blind", "--preset", "quick")
    assert (planned.returncode, done.returncode) == (0, 0), planned.stderr + done.stderr
    board = bench("table", "--dataset", "stripes", cwd=tmp_path).stdout
    assert home not in board
    for attack, says in lacking.items():
        assert re.search(f"not on this machine: {attack}: .*{says}", planned.stdout)
        assert re.search(f"{attack}.*{says}", board)
        refused = asked("run", "--attacks", f"clean,{attack}")
        assert refused.returncode == 2
        assert re.search(f"(?m)^bench: {attack}: .*{says}.*train them: bench train", refused.stderr)
