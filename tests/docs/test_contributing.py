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
        found[re.findall(r"`((?:attacks|defenses|bench)/[\w/]+\.py)`", before)[-1]] = block
    return found


EXAMPLES = examples()


def copied(into: Path, *more: str) -> Path:
    """The packages of the tree, and `more` of it, with every example in its place."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("bench", "defenses", "attacks", *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, into / name)
    for file, text in EXAMPLES.items():
        assert not (into / file).exists()
        (into / file).write_text(text)
    return into


def in_copy(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return bench(*arguments, cwd=tree, PYTHONPATH=str(tree), BENCH_HOME=str(tree / "home"))


def test_every_kind_has_an_example_and_they_are_short() -> None:
    kinds = [re.findall(r"^@(\w+)\(", text, flags=re.MULTILINE) for text in EXAMPLES.values()]
    assert kinds == [["defense"], ["attack"], ["classifier"], ["dataset"]]
    for text in EXAMPLES.values():
        assert len([line for line in text.splitlines() if line.strip()]) < 30


@pytest.mark.slow
def test_a_new_file_is_all_it_takes(tmp_path: Path) -> None:
    tree = copied(tmp_path)
    listed = json.loads(in_copy(tree, "list", "--json").stdout)
    assert listed["broken"] == []
    names = {kind: {entry["name"]: entry for entry in listed[kind]} for kind in KINDS}
    assert names["defenses"]["shift"]["settings"] == {"pixels": 1}
    assert {"halfway"} < set(names["attacks"])
    assert {"both"} < set(names["classifiers"])
    assert names["datasets"]["digits8"]["shape"] == [1, 8, 8]
    for name in ("shift", "halfway", "both", "shift@both"):
        checked = in_copy(tree, "check", name)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = ["--defense", "shift:pixels=2@both", "--attacks", "clean,bpda,halfway"]
    run = in_copy(tree, *RUN, *asked)
    assert run.returncode == 0, run.stderr
    records = tmp_path / "results" / "digits" / "records"
    assert {p.name for p in records.iterdir()} >= {"none@both"}
    assert len(list(records.glob("shift*/*/*/000.json"))) == 3
    planned = in_copy(tree, "plan", *asked, "--dataset", "digits8", "--json")
    assert json.loads(planned.stdout)["images"] == 256


@pytest.mark.slow
def test_the_same_files_elsewhere_are_plugins(tmp_path: Path) -> None:
    files = [tmp_path / Path(name).name for name in EXAMPLES]
    for file, text in zip(files, EXAMPLES.values(), strict=True):
        file.write_text(text)
    plugins = [word for file in files for word in ("--plugin", file.name)]
    listed = bench("list", *plugins, cwd=tmp_path).stdout
    assert all(name in listed for name in ("shift", "halfway", "both", "digits8"))
    asked = ["--defense", "shift@both", "--attacks", "clean,halfway", *plugins]
    run = bench(*RUN, *asked, "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["failures"] == []


@pytest.mark.slow
def test_a_new_data_set_is_trained_and_measured(tmp_path: Path) -> None:
    (tmp_path / "digits8.py").write_text(EXAMPLES["bench/data/digits8.py"])
    asked = ["--dataset", "digits8", "--plugin", "digits8.py"]
    home = str(tmp_path / "home")
    done = bench("train", "cnn", *asked, cwd=tmp_path, BENCH_HOME=home)
    assert done.returncode == 0, done.stderr
    words = ["--defense", "median@cnn", "--attacks", "clean,bpda", "--images", "32"]
    run = bench("run", *words, *asked, "--preset", "quick", cwd=tmp_path, BENCH_HOME=home)
    assert run.returncode == 0, run.stderr
    board = bench("table", "--dataset", "digits8", cwd=tmp_path, BENCH_HOME=home)
    assert "median@cnn" in board.stdout, board.stderr


@pytest.mark.slow
def test_what_make_check_runs_passes_with_every_example(tmp_path: Path) -> None:
    tree = copied(
        tmp_path, *("tests", "benchmarks", "docs", "leaderboards", "pyproject.toml", "README.md")
    )
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
    chosen = "not contract or left_out or shift or halfway or both"
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
