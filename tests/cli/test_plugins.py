"""Plug-ins from files and folders, good and bad, and what `bench list` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import registry
from bench.cli.list import KINDS, list_command
from bench.errors import BenchError
from bench.registry import declare, discover

ATTACK = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from bench.attack import Attacked
from bench.registry import attack

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
    registry.load([str(file)])
    assert registry.find_attack("shift-of-the-test").hints == {"weight": float}
    declare.PLUGINS["attack"].pop("shift-of-the-test")


@pytest.mark.parametrize("text", ["import sys; sys.exit(3)", "raise ValueError('a\\nb')", "def ("])
def test_a_file_that_does_not_import_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(BenchError, match=r"bad\.py' fails to import: \w+: ") as raised:
        registry.load([str(file)])
    assert "\n" not in str(raised.value)


def test_a_broken_module_of_a_folder_is_listed_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sick_of_the_test.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discover, "BROKEN", [])
    discover._import("sick_of_the_test")
    assert registry.broken() == (registry.Broken("sick_of_the_test", "SystemExit: 3"),)
    with pytest.raises(BenchError, match="'sick-of-the-test' is broken: SystemExit"):
        registry.find_defense("sick-of-the-test")
    assert registry.find_defense("none").name == "none"


@pytest.mark.parametrize("dataset", registry.names("dataset"))
@pytest.mark.parametrize("preset", ["", *registry.PRESETS])
def test_everything_is_listed_for_every_data_set(dataset: str, preset: str) -> None:
    arguments = ["--dataset", dataset, "--preset", preset, "--json"]
    result = CliRunner().invoke(list_command, arguments, catch_exceptions=False)
    listed = json.loads(result.stdout)
    for plural, kind in KINDS.items():
        assert len(listed[plural]) == len(registry.names(kind, patterns=True))


def test_what_is_not_for_a_data_set_is_listed_with_its_reason() -> None:
    result = CliRunner().invoke(list_command, ["classifiers", "--dataset", "cifar10"])
    assert "not here: cnn is the small network of small images; on cifar10 use vgg" in result.stdout
