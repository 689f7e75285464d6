"""Attacks from outside, through the real command: what they say of themselves decides alarms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.boards.flags import flags
from bench.boards.gather import boards
from bench.results.store import Store
from tests.factories import rewrite

PLUGINS = '''
from dataclasses import dataclass

import torch

from attacks.gradients import Blind
from attacks.pgd import PGD
from bench.api.attacked import Attacked
from bench.api.purifier import Purifier, Traits
from bench.api import attack, defense


class Round(Purifier):
    def forward(self, x):
        return (x * 6).round() / 6


@defense("hiding", traits=lambda settings: Traits(exact=True))
def hiding(context):
    """Rounds, and claims a gradient."""
    return Round()


@dataclass(frozen=True)
class Around:
    """PGD past the purifier, without a trace."""

    def __call__(self, defense, x, y, threat):
        return Attacked(PGD(Blind("ce"), 10)(defense, x, y, threat).x_adv)


@attack("around", knows="blind")
def around():
    """It asks the classifier alone, and says so."""
    return Around()


@attack("unsaid")
def unsaid():
    """It asks the classifier alone, and does not say so."""
    return Around()


@dataclass(frozen=True)
class Through:
    """One library-like step through the whole defense."""

    def __call__(self, defense, x, y, threat):
        point = x.clone().requires_grad_()
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(defense.logits(point), y)
            (slope,) = torch.autograd.grad(loss, point)
        return Attacked(threat.project(x + threat.eps * slope.sign(), x))


@attack("through", knows="all", follows="exact")
def through():
    """It follows what the purifier hides."""
    return Through()
'''
RUN = (
    *("run", "--defense", "hiding", "--attacks", "clean,through,around,unsaid"),
    *("--plugin", "mine.py", "--dataset", "digits", "--images", "32", "--preset", "quick"),
    *("--control", "off", "--json"),
)


def bench(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_attacks_from_outside_say_of_themselves_decides_alarms(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGINS)
    assert json.loads(bench(*RUN, cwd=tmp_path))["failures"] == []
    bench("table", "--dataset", "digits", "--out", "board.md", cwd=tmp_path)
    said = (tmp_path / "board.md").read_text(encoding="utf-8")
    for line in (
        "hiding@natural under through: the gradient is exactly zero in most steps",
        "hiding@natural under around: knows less than through and yet leaves",
        "than through and does not say what it knows; if less, the gradients",
    ):
        assert said.count(line) == 1, line
    # A plan that was made before attacks said anything gets it by the same command.
    (path,) = tmp_path.glob("results/digits/plans/*.json")
    new = path.read_text()
    rewrite(path, lambda data: data.pop("attacks"))
    (board,) = boards(Store(tmp_path / "results"), "digits")
    assert not any("mislead" in flag.text for flag in flags(board))
    assert json.loads(bench(*RUN, cwd=tmp_path))["measured"] == 0
    assert [file.read_text() for file in path.parent.iterdir()] == [new]
