"""A plug-in written against older import paths is told the new ones, in one line."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from bench import api
from bench.api.moved import MOVED, NAMES
from bench.errors import BenchError


def said(folder: Path, line: str) -> str:
    file = folder / "older.py"
    file.write_text(f"{line}\n")
    with pytest.raises(BenchError) as error:
        api.load([str(file)])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("old", MOVED)
def test_the_new_module_is_named(old: str, tmp_path: Path) -> None:
    text = said(tmp_path, f"import {old}")
    assert text.endswith(f"'{old}' is now '{MOVED[old]}'")
    import_module(MOVED[old])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_new_place_of_a_name_is_named(module: str, name: str, tmp_path: Path) -> None:
    there = NAMES[module, name]
    assert said(tmp_path, f"from {module} import {name}").endswith(f"{name} is now in '{there}'")
    assert hasattr(import_module(there), name)


def test_a_module_inside_a_moved_package_is_named(tmp_path: Path) -> None:
    text = said(tmp_path, "from bench.nets.unet import ScoreUNet")
    assert "is now 'bench.models.nets" in text


def test_what_never_existed_gets_no_hint(tmp_path: Path) -> None:
    assert "is now" not in said(tmp_path, "import bench.nowhere")
    assert "is now" not in said(tmp_path, "raise ValueError('bench.registry')")
