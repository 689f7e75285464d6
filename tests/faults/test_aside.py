"""What the file of a plug-in does besides, when it is imported or built, moves nobody's numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bench import api
from bench.api.register import PLUGINS
from bench.measure import build

PLUGIN = """
import os, sys, torch
from torch.nn import functional as F
from bench.api import defense
from bench.api.purifier import Purifier

def act():
    {act}
{when}

class Same(Purifier):
    def forward(self, x):
        return x

@defense("{name}")
def made(context):
    act()
    return Same()
"""
ACTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "gradients": ("torch.set_grad_enabled(False)", torch.is_grad_enabled),
    "type": ("torch.set_default_dtype(torch.float64)", torch.get_default_dtype),
    "function": ("F.relu = F.gelu", lambda: F.relu),
    "deterministic": (
        "torch.use_deterministic_algorithms(True)",
        torch.are_deterministic_algorithms_enabled,
    ),
    "inference": ("torch.inference_mode().__enter__()", torch.is_inference_mode_enabled),
    "kernels": ("torch.backends.mkldnn.enabled = False", lambda: torch.backends.mkldnn.enabled),
    "precision": (
        "torch.set_float32_matmul_precision('medium')",
        torch.get_float32_matmul_precision,
    ),
    "recursion": ("sys.setrecursionlimit(500)", sys.getrecursionlimit),
    "folder": ("os.chdir('/')", os.getcwd),
}


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    api.load()
    monkeypatch.setitem(PLUGINS, "defense", dict(PLUGINS["defense"]))
    yield
    build.forget()


@pytest.mark.parametrize("when", ["act()", ""], ids=["imported", "built"])
@pytest.mark.parametrize("what", ACTS)
def test_importing_and_building_leave_the_process_as_it_was(
    what: str, when: str, tmp_path: Path
) -> None:
    act, read = ACTS[what]
    before, name = read(), f"aside-{what}-{bool(when)}"
    file = tmp_path / f"{name.replace('-', '_')}.py"
    file.write_text(PLUGIN.format(act=act, when=when, name=name))
    api.load([str(file)])
    assert read() == before
    build.defense(name, build.context("digits"))
    assert read() == before


def test_a_folder_that_a_plugin_names_for_later_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_FOLDER_OF_SOME_LIBRARY", "")
    file = tmp_path / "named.py"
    file.write_text('import os\nos.environ["A_FOLDER_OF_SOME_LIBRARY"] = "there"\n')
    api.load([str(file)])
    assert os.environ["A_FOLDER_OF_SOME_LIBRARY"] == "there"
