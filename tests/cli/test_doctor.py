"""`bench doctor` on a house with damaged and tampered weights; robustbench imports quietly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench.api import Context
from bench.cli.doctor import doctor_command
from bench.models.zoo.weights import own, packaged, save
from tests.cli.test_cli import bench
from tests.models.foreign.conftest import cifar10

__all__ = ["cifar10"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without importing robustbench, which takes half a minute."""
    monkeypatch.setattr("bench.cli.doctor._robustbench", lambda problems: True)


@pytest.mark.slow
def test_robustbench_is_imported_quietly() -> None:
    result = bench("doctor", "--dataset", "digits", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["robustbench"] is True


@pytest.mark.usefixtures("quick")
def test_doctor_names_every_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    own, shipped = tmp_path / "weights" / "digits", packaged("digits")
    own.mkdir(parents=True)
    content = (shipped / "natural.safetensors").read_bytes()
    (own / "natural.safetensors").write_bytes(content[:-1])
    (own / "madry.safetensors").write_bytes(content)
    shutil.copy(shipped / "manifest.json", own)
    shutil.copy(shipped / "cnn.safetensors", own)
    result = CliRunner().invoke(
        doctor_command, ["--dataset", "digits", "--json"], standalone_mode=False
    )
    assert result.return_value == 2
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert list(found["datasets"]) == ["digits"]
    damaged, tampered = sorted(found["problems"], key=lambda text: "changed" in text)
    assert "natural.safetensors are truncated" in damaged
    assert "madry.safetensors were changed" in tampered
    weights = found["datasets"]["digits"]["weights"]
    assert weights["cnn"]["from"] == str(own / "cnn.safetensors")
    assert weights["score"]["from"] == "package"


@pytest.mark.usefixtures("quick")
def test_doctor_says_how_to_get_what_is_missing(
    cifar10: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    facts = {"dataset": "cifar10", "command": "bench fetch weights/edm-cifar10"}
    save(own("cifar10") / "edm-ddpmpp.safetensors", {"a": torch.zeros(1)}, facts)
    asked = ["--dataset", "cifar10"]
    found = json.loads(CliRunner().invoke(doctor_command, [*asked, "--json"]).stdout)
    data = found["datasets"]["cifar10"]
    assert data["weights"]["edm-ddpmpp"]["command"] == "bench fetch weights/edm-cifar10"
    assert "edm-ddpmpp" not in data["missing"]
    how = data["missing"]["pixelcnn"]
    assert "bench fetch weights/pixelcnnpp-cifar10 --from FILE (from https://mega.nz/" in how
    assert "bench train pixelcnn --dataset cifar10" in how
    ways = "train them: bench train noisy --dataset cifar10; or take compact networks: --dataset"
    assert data["missing"]["noisy"] == f"{ways} cifar10-compact"
    entry = next(e for e in data["published"] if e["name"] == "weights/edm-cifar10")
    assert (entry["sha256"], entry["here"]) == (None, True)
    lines = CliRunner().invoke(doctor_command, asked).stdout
    assert "CC BY-NC-SA 4.0; size not publicly known; checksum not publicly known" in lines
    assert "reported: 2.95 bits/dim" in lines
