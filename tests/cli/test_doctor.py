"""`bench doctor` on a house with damaged and tampered weights; robustbench imports quietly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.zoo.weights import packaged
from tests.cli.test_cli import bench


def test_doctor_names_every_problem_and_imports_robustbench_quietly(tmp_path: Path) -> None:
    own, shipped = tmp_path / "weights" / "digits", packaged("digits")
    own.mkdir(parents=True)
    content = (shipped / "natural.safetensors").read_bytes()
    (own / "natural.safetensors").write_bytes(content[:-1])
    (own / "madry.safetensors").write_bytes(content)
    shutil.copy(shipped / "manifest.json", own)
    shutil.copy(shipped / "cnn.safetensors", own)
    result = bench("doctor", "--dataset", "digits", "--json", BENCH_HOME=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["robustbench"] is True
    assert list(found["datasets"]) == ["digits"]
    damaged, tampered = sorted(found["problems"], key=lambda text: "changed" in text)
    assert "natural.safetensors are truncated" in damaged
    assert "madry.safetensors were changed" in tampered
    weights = found["datasets"]["digits"]["weights"]
    assert weights["cnn"]["from"] == str(own / "cnn.safetensors")
    assert weights["score"]["from"] == "package"
