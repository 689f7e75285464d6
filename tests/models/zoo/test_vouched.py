"""Weights are refused on another data set, and when they are not those that were trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import rebuild


def test_weights_of_another_data_set(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    zoo.save(path, {"a": torch.zeros(2)}, {"dataset": "moon"})
    assert zoo.find("moon", "net", path).path == path
    with pytest.raises(BenchError, match="trained on data set 'moon', not on 'digits'"):
        zoo.find("digits", "net", path)


def test_own_weights_that_changed_since_they_were_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    path = zoo.own("digits") / "net.safetensors"
    zoo.save(path, {"a": torch.zeros(2)}, {})
    assert zoo.find("digits", "net").path == path
    zoo.vouch(zoo.read(path))
    zoo.vouch(zoo.save(path.with_name("other.safetensors"), {"a": torch.ones(2)}, {}))
    assert set(json.loads((path.parent / "manifest.json").read_text())) == {"net", "other"}
    assert zoo.find("digits", "net").path == path
    zoo.save(path, {"a": torch.ones(2)}, {})
    with pytest.raises(BenchError, match="were changed"):
        zoo.find("digits", "net")


@pytest.mark.parametrize(
    "facts", [{"arguments": "[1]"}, {"normalisation": '{"mean": [0]}'}, {"normalisation": "[1]"}]
)
def test_metadata_that_make_no_sense(tmp_path: Path, facts: dict[str, str]) -> None:
    known = {"network": "cnn", "arguments": "{}"}
    found = zoo.save(tmp_path / "net.safetensors", {"a": torch.zeros(2)}, known | facts)
    with pytest.raises(BenchError, match="do not say which network"):
        rebuild(found)
