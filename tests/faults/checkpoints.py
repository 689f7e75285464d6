"""Readers of checkpoints and of what lies beside them, with whole files for each."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.compute.tensor_file import packed
from bench.models.foreign import sidecar
from bench.models.nets import make
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import rebuild
from tests.faults.fuzz import Reader
from tests.reference import GOLDEN


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {"depth": 10, "widen": 1, "classes": 3, "channels": 3}
    return make("wideresnet-meliketoy", arguments)


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _zips(folder: Path) -> list[bytes]:
    made = _network()
    return [_saved({"net": made.state_dict(), "acc": 93.3}), _saved(made)]


def _streams(folder: Path) -> list[bytes]:
    old = {"_use_new_zipfile_serialization": False}
    made = _network()
    return [_saved({"state_dict": made.state_dict()}, **old), _saved(made, **old)]


def _pickles(folder: Path) -> list[bytes]:
    return [(GOLDEN / "ckpt_edm_persistence.pkl").read_bytes()]


def _inner(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))


def _rezipped(content: bytes) -> bytes:
    """The first of `_zips` with another pickle in it."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_zips(Path())[0])) as file,
        zipfile.ZipFile(stream, "w") as target,
    ):
        for name in file.namelist():
            target.writestr(name, content if name.endswith("data.pkl") else file.read(name))
    return stream.getvalue()


def _checkpoint(path: Path) -> object:
    return rebuild(zoo.find("cifar10", "any", path))


def _safetensors(folder: Path) -> list[bytes]:
    facts = {
        "network": "wideresnet-meliketoy",
        "arguments": '{"depth": 10, "widen": 1, "classes": 3, "channels": 3}',
        "normalisation": '{"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}',
    }
    state = _network().state_dict()
    return [packed(state, facts), packed(state, {})]


def _configuration(folder: Path) -> list[bytes]:
    space = "!!python/object:argparse.Namespace"
    text = f"""{space}
data: {space}
  channels: 3
  dataset: CIFAR10
  random_flip: true
model: {space} {{ngf: 2, num_classes: 10, sigma_begin: 1.5, since: 2020-01-01, none: null}}
betas: !!python/tuple [&a 0.9, *a, "text"]
"""
    return [text.encode()]


def _manifest(path: Path) -> object:
    return zoo._entries(path.parent)


CHECKPOINTS: Mapping[str, Reader] = {
    "zip": Reader("checkpoints", "net.pt", _zips, _checkpoint, (_inner, _rezipped)),
    "stream": Reader("checkpoints", "net.pth", _streams, _checkpoint),
    "pickle": Reader("checkpoints", "net.pkl", _pickles, _checkpoint),
    "safetensors": Reader("checkpoints", "net.safetensors", _safetensors, _checkpoint),
    "sidecar": Reader("checkpoints", "config.yml", _configuration, sidecar.read),
    "manifest": Reader(
        "checkpoints",
        "manifest.json",
        lambda folder: [b'{"madry": {"sha256": "ab", "bytes": 12, "command": "x", "merit": ""}}'],
        _manifest,
    ),
}
