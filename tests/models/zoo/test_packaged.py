"""The committed weights: vouched for, small, and every one a working network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from bench.api import find_dataset
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import load_state
from tests.networks import answer, expected

COMPACT = "cifar10-compact"
FOLDERS = sorted(p for p in zoo.packaged("patches").parent.iterdir() if p.is_dir())
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.safetensors"))]


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def test_both_embedded_data_sets_have_all_their_weights() -> None:
    from bench.training.recipes import RECIPES

    embedded = [p for p in FOLDERS if p.name != COMPACT]
    assert {p.name for p in embedded} == {"patches", "digits"}
    for folder in embedded:
        assert {p.stem for p in folder.glob("*.safetensors")} >= set(RECIPES)
    assert sum(p.stat().st_size for p in FILES if p.parent in embedded) < 24 * 2**20


def test_compact_networks_are_small_files_of_trained_networks() -> None:
    from bench.training.recipes.compact import COMPACT as RECIPES

    files = [path for path in FILES if path.parent.name == COMPACT]
    names = {path.stem for path in files}
    assert {"natural", "score", "edm"} <= names <= set(RECIPES)
    assert sum(path.stat().st_size for path in files) < 25 * 2**20
    for path in files:
        weights = zoo.find(COMPACT, path.stem)
        assert all(t.dtype in (torch.float16, torch.int64) for t in load_state(weights).values())
        merit = json.loads(weights.metadata["merit"])
        assert merit.get("clean", 100.0) > 60
        assert merit.get("dsm@0.25", 0.0) < 0.1
        assert merit.get("left@0.25", 0.0) < 0.1


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_the_manifest_is_of_the_files(folder: Path) -> None:
    entries = zoo.manifest(folder.name)
    assert sorted(entries) == sorted(p.stem for p in folder.glob("*.safetensors"))
    for name, entry in entries.items():
        path = folder / f"{name}.safetensors"
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["bytes"] == path.stat().st_size
        assert str(entry["command"]).startswith("bench train ")
        assert json.loads(str(entry["merit"]))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_committed_network_works(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    weights = zoo.find(path.parent.name, path.stem)
    assert weights.path == path
    info = find_dataset(path.parent.name).factory().info
    x = torch.rand(2, *info.shape, generator=torch.Generator().manual_seed(0))
    network = rebuild(weights)
    with torch.no_grad():
        out = answer(network, x)
    assert out.shape == expected(network, x, len(info.classes))
    assert out.isfinite().all()
