"""What a plug-in from outside is made of is part of what its numbers are kept under."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from bench import api
from bench.api import register
from bench.api.code import code_of
from bench.boards.board import boards
from bench.compute.fingerprint import fingerprint
from bench.models.nets.normalised import Normalised
from bench.results.store import Store

PLUGIN = '''
"""Of the test."""
import torch
from bench.api.purifier import Purifier
from bench.api import attack, classifier, defense
from beside import AMOUNT

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(SEED)
        self.linear = torch.nn.Linear(256, 10)
    def forward(self, x):
        return self.linear(x.flatten(1))

@classifier("net-of-the-test")
def net(context) -> torch.nn.Module:
    return Net()

class Shift(Purifier):
    def forward(self, x):
        return (x + AMOUNT).clamp(0, 1)

@defense("shift-of-the-test")
def shift(context) -> Shift:
    """Brighter."""
    return Shift()
'''
RUN = "run --plugin mine.py --defense shift-of-the-test@net-of-the-test --control none --attacks "
RUN += "clean --dataset digits --images 32 --results results"


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_edited_code_an_exchanged_network_and_an_edited_neighbour_are_measured_again(
    tmp_path: Path,
) -> None:
    mine, beside = tmp_path / "mine.py", tmp_path / "beside.py"
    mine.write_text(PLUGIN.replace("SEED", "1"))
    beside.write_text("AMOUNT = 0.1\n")
    said = bench(tmp_path, *RUN.split()).stderr
    assert "2 shards to measure" in said
    # Neither a comment nor a docstring is a change.
    mine.write_text(PLUGIN.replace("SEED", "1").replace("Brighter.", "Lighter.") + "# more\n")
    assert "0 shards to measure, 2 finished before" in bench(tmp_path, *RUN.split()).stderr
    beside.write_text("AMOUNT = 0.2\n")
    said = bench(tmp_path, *RUN.split()).stderr
    assert "code of shift-of-the-test changed: 2 shards measured again" in said
    mine.write_text(PLUGIN.replace("SEED", "2"))
    said = bench(tmp_path, *RUN.split()).stderr
    assert "code of net-of-the-test changed: 2 shards measured again" in said
    assert "network of net-of-the-test changed: 2 shards measured again" in said
    assert "0 shards to measure, 2 finished before" in bench(tmp_path, *RUN.split()).stderr


def test_a_network_that_was_exchanged_in_its_own_file_is_measured_again(tmp_path: Path) -> None:
    text = PLUGIN.replace("torch.manual_seed(SEED)", "torch.manual_seed(int(open('seed').read()))")
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "beside.py").write_text("AMOUNT = 0.1\n")
    for seed in ("1", "2"):
        (tmp_path / "seed").write_text(seed)
        said = bench(tmp_path, *RUN.split()).stderr
    assert "network of net-of-the-test changed: 2 shards measured again" in said
    assert "code of" not in said
    # Rows of two networks are no one board.
    (tmp_path / "seed").write_text("1")
    bench(tmp_path, *RUN.replace("--images 32", "--images 64").split())
    store = Store(tmp_path / "results")
    assert len(list(store.records("digits"))) == 4
    path = next((tmp_path / "results").rglob("*.json.stale"))
    path.replace(path.with_name("000.json"))
    board = next(b for b in boards(store, "digits") if b.images == 64)
    assert "records of 2 sets of weights" in " ".join(
        entry.gap for row in board.rows for entry in row.entries.values()
    )


def test_a_network_of_unseeded_numbers_is_a_failure_and_no_number(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("torch.manual_seed(SEED)", "torch.seed()"))
    (tmp_path / "beside.py").write_text("AMOUNT = 0.1\n")
    command = [sys.executable, "-m", "bench", *RUN.split(), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    failures = json.loads(done.stdout)["failures"]
    assert len(failures) == 2
    assert all("unseeded random numbers" in failure["reason"] for failure in failures)


def test_every_tensor_and_layer_counts_and_no_counter_does() -> None:
    def net(eps: float = 1e-5, act: type[torch.nn.Module] = torch.nn.ReLU) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2, eps=eps), act()
        return Normalised(torch.nn.Sequential(*layers), (0.5,), (0.5,))

    one = fingerprint(net())
    assert one == fingerprint(net())
    others = [net(1e-3), net(act=torch.nn.SiLU), net(), net()]
    next(others[2].parameters()).data[0, 0, 0, 0] += 1e-6
    next(iter(others[3].buffers())).add_(1)
    assert len({one, *map(fingerprint, others)}) == 5
    # Also what is no registered part of a module.
    for inside in ({"hidden": [torch.ones(2)]}, {"hidden": [torch.zeros(2)]}):
        module = net()
        vars(module).update(inside)
        assert fingerprint(module) != one


def test_plugins_of_the_project_are_told_by_their_versions(tmp_path: Path) -> None:
    api.load()
    for kind, named in register.PLUGINS.items():
        for plugin in named.values():
            if plugin.factory.__module__.startswith("bench"):
                assert len(code_of(plugin)) == 64, kind
