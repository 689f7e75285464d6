"""The example of CONTRIBUTING.md, as printed: one new file, listed, checked and run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_cli import RUN, bench

ROOT = Path(__file__).parents[1]


@pytest.fixture
def example() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return blocks[0]


def test_the_example_is_short(example: str) -> None:
    assert len([line for line in example.splitlines() if line.strip()]) < 25


def test_a_new_file_in_defenses_is_all_it_takes(example: str, tmp_path: Path) -> None:
    for package in ("bench", "defenses", "attacks"):
        ignored = shutil.ignore_patterns("__pycache__", "patches")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    (tmp_path / "defenses" / "shift.py").write_text(example)

    def in_copy(*arguments: str) -> subprocess.CompletedProcess[str]:
        return bench(*arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))

    listed = json.loads(in_copy("list", "defenses", "--json").stdout)
    assert listed["broken"] == []
    entry = next(entry for entry in listed["defenses"] if entry["name"] == "shift")
    assert entry["settings"] == {"pixels": 1}
    checked = in_copy("check", "shift")
    assert checked.returncode == 0, checked.stdout
    run = in_copy(*RUN, "--defense", "shift:pixels=2@madry", "--attacks", "clean,bpda")
    assert run.returncode == 0, run.stderr
    records = tmp_path / "results" / "digits" / "records"
    assert {p.name for p in records.iterdir()} >= {"none@madry"}
    assert len(list(records.glob("shift*/*/*/000.json"))) == 2


def test_the_same_file_elsewhere_is_a_plugin(example: str, tmp_path: Path) -> None:
    file = tmp_path / "shift.py"
    file.write_text(example)
    listed = bench("list", "defenses", "--plugin", str(file)).stdout
    assert "shift" in listed
    arguments = ["--defense", "shift", "--attacks", "clean", "--plugin", "shift.py"]
    run = bench(*RUN, *arguments, "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["failures"] == []
