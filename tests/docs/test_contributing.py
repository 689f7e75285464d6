"""The examples of CONTRIBUTING.md, as printed: each is one new file, in the tree or beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.list import KINDS
from tests.api.own_data.pictures import forest
from tests.cli.test_cli import RUN, bench

ROOT = Path(__file__).parents[2]
SEEING = (
    *("tests/test_architecture.py", "tests/test_names.py", "tests/api/test_registry.py"),
    *(
        "tests/contract/test_contract.py",
        "tests/api/test_facts.py",
        "tests/estimate/test_profile.py",
    ),
    *("tests/attacks/test_catalog.py", "tests/defenses/test_settings.py"),
    *(
        "tests/cli/test_doctor.py",
        "tests/cli/test_plugins.py",
        "tests/models/zoo/test_published.py",
    ),
)
"""Tests that go through everything that is registered."""
OTHERS = {
    "defenses/odd.py": """
from bench.api.purifier import Purifier
from bench.api import Context, defense


class Odd(Purifier):
    \"\"\"Nothing.\"\"\"


@defense("pgd", weights=lambda settings: ("nobody-has-it",))
def odd(context: Context) -> Odd:
    \"\"\"Asks for weights that are nowhere, under a name that is a word of the harness.\"\"\"
    context.weights("nobody-has-it")
    return Odd()
""",
    "bench/models/classifiers/odd.py": """
from torch import nn

from bench.errors import BenchError
from bench.api import Context, classifier
from bench.spec import Settings


def _refused(settings: Settings, dataset: str) -> None:
    raise BenchError(f"not for {dataset}")


@classifier("odd", fits=_refused, weights=lambda settings: ("nobody-has-it-either",))
def odd(context: Context) -> nn.Module:
    \"\"\"For no data set at all.\"\"\"
    raise NotImplementedError
""",
}
"""Plug-ins that are allowed too, and that no test may forbid."""


def examples() -> dict[str, str]:
    """The Python of each block by the file that the text before it names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found, before = {}, ""
    for prose, block in re.findall(r"(.*?)```python\n(.*?)```", text, flags=re.DOTALL):
        before += prose
        found[re.findall(r"`([\w/]+\.py)`", before)[-1]] = block
    return found


EXAMPLES = examples()
TREES = "trees.py"
"""The one that is a plug-in beside its images, no file of the tree."""
LONGEST = {"defenses/renoise.py": 45, "attacks/corners.py": 40}
"""Lines, where 30 do not suffice."""
IN_TREE = {file: text for file, text in EXAMPLES.items() if file != TREES}
TINY = """
import sys
import torch
from tiny import Tiny
torch.save(Tiny(1, 10).state_dict(), "tiny.pt")
"""


def copied(into: Path, *more: str) -> Path:
    """The packages of the tree, and `more` of it, with every example in its place."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("bench", "defenses", "attacks", *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, into / name)
    for file, text in IN_TREE.items():
        assert not (into / file).exists()
        (into / file).write_text(text)
    return into


def in_copy(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return bench(*arguments, cwd=tree, PYTHONPATH=str(tree), BENCH_HOME=str(tree / "home"))


def test_every_kind_has_an_example_and_they_are_short() -> None:
    kinds = [
        re.findall(r"^@(\w+)\(\n?\s*\"", text, flags=re.MULTILINE) for text in EXAMPLES.values()
    ]
    assert kinds == [["defense"], ["recipe", "defense"], ["attack"], ["classifier"], ["dataset"]]
    for file, text in EXAMPLES.items():
        assert len([line for line in text.splitlines() if line.strip()]) < LONGEST.get(file, 30)


def tiny_file(folder: Path) -> str:
    """A state dict of the example's classifier, as its user has one."""
    (folder / "tiny").mkdir()
    (folder / "tiny" / "tiny.py").write_text(EXAMPLES["bench/models/classifiers/tiny.py"])
    words = [sys.executable, "-c", TINY]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, folder / "tiny")))}
    subprocess.run(words, check=True, cwd=folder / "tiny", env=environment)
    return f"tiny={folder / 'tiny' / 'tiny.pt'}"


@pytest.mark.slow
def test_a_new_file_is_all_it_takes(tmp_path: Path) -> None:
    tree = copied(tmp_path)
    listed = json.loads(in_copy(tree, "list", "--json").stdout)
    assert listed["broken"] == []
    names = {kind: {entry["name"]: entry for entry in listed[kind]} for kind in KINDS}
    assert names["defenses"]["shift"]["settings"] == {"pixels": 1}
    assert names["attacks"]["corners"]["knows"] == "little"
    assert {"renoise"} < set(names["defenses"])
    assert {"tiny"} < set(names["classifiers"])
    trained = in_copy(tree, "train", "renoise", "--dataset", "digits")
    assert trained.returncode == 0, trained.stderr
    on_digits = ("--dataset", "digits", "--weights")
    for name in ("shift", "corners", "renoise"):
        checked = in_copy(tree, "check", name, *on_digits[:2])
        assert checked.returncode == 0, checked.stdout + checked.stderr
    tiny = tiny_file(tmp_path)
    for name in ("tiny", "shift@tiny"):
        checked = in_copy(tree, "check", name, *on_digits, tiny)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = ["--defense", "shift:pixels=2@tiny", "--attacks", "clean,bpda,corners"]
    run = in_copy(tree, *RUN, *asked, "--weights", tiny)
    assert run.returncode == 0, run.stderr
    records = tmp_path / "results" / "digits" / "records"
    assert {p.name for p in records.iterdir()} >= {"none@tiny"}
    assert len(list(records.glob("shift*/*/*/000.json"))) == 3


@pytest.mark.slow
def test_the_same_files_elsewhere_are_plugins(tmp_path: Path) -> None:
    files = [tmp_path / Path(name).name for name in IN_TREE]
    for file, text in zip(files, IN_TREE.values(), strict=True):
        file.write_text(text)
    plugins = [word for file in files for word in ("--plugin", file.name)]
    home = str(tmp_path / "home")
    asked = ["--defense", "renoise,shift@tiny", "--attacks", "clean,corners", *plugins]
    tiny = ["--weights", tiny_file(tmp_path)]
    lacking = bench(*RUN, *asked, *tiny, cwd=tmp_path, BENCH_HOME=home)
    assert lacking.returncode == 2
    command = re.search(r"train them: bench (train renoise .*)", lacking.stderr)
    assert command, lacking.stderr
    assert command[1].endswith("--plugin renoise.py")
    trained = bench(*command[1].split(), cwd=tmp_path, BENCH_HOME=home)
    assert trained.returncode == 0, trained.stderr
    run = bench(*RUN, *asked, *tiny, "--json", cwd=tmp_path, BENCH_HOME=home)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["failures"] == []


@pytest.mark.slow
def test_a_new_data_set_is_trained_and_measured(tmp_path: Path) -> None:
    forest(tmp_path / "images", each=150)
    (tmp_path / TREES).write_text(EXAMPLES[TREES])
    asked = ["--dataset", "trees", "--plugin", TREES]
    home = str(tmp_path / "home")
    done = bench("train", "cnn", *asked, "--steps", "60", cwd=tmp_path, BENCH_HOME=home)
    assert done.returncode == 0, done.stderr
    words = ["--defense", "median@cnn", "--attacks", "clean,bpda", "--images", "32"]
    run = bench("run", *words, *asked, "--preset", "quick", cwd=tmp_path, BENCH_HOME=home)
    assert run.returncode == 0, run.stderr
    board = bench("table", "--dataset", "trees", cwd=tmp_path, BENCH_HOME=home)
    assert "median@cnn" in board.stdout, board.stderr


@pytest.mark.slow
def test_what_make_check_runs_passes_with_every_example(tmp_path: Path) -> None:
    tree = copied(tmp_path, *("tests", "docs", "leaderboards", "pyproject.toml", "README.md"))
    shutil.copy(ROOT / "CONTRIBUTING.md", tree / "CONTRIBUTING.md")
    commands = ("ruff check .", "ruff format --check .", "mypy")
    for command in commands:
        assert python(tree, *command.split()) == "", command


@pytest.mark.slow
def test_no_test_forbids_another_plug_in(tmp_path: Path) -> None:
    """Of those that go through everything: they hold with the examples, and with odd ones.

    Of the contract, which takes long, only what concerns the examples.
    """
    tree = copied(tmp_path, "tests", "docs", "leaderboards", "pyproject.toml")
    for file, text in OTHERS.items():
        (tree / file).write_text(text)
    chosen = "not contract or left_out or shift or corners"
    assert python(tree, "pytest", "-n", "0", *SEEING, "-k", chosen) == ""


def python(tree: Path, module: str, *arguments: str) -> str:
    """What a tool says of a copy of the tree where it fails, else nothing."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "BENCH_HOME": str(tree / "home")},
    )
    said = "\n".join(done.stdout.splitlines()[-30:])
    return f"{said}\n{done.stderr}" if done.returncode else ""
