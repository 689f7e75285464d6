"""Checkpoints by name: search, sha256, safe reading and writing of safetensors files.

Order of search: a file that the user names, `$BENCH_HOME/weights/<dataset>/`, the files shipped
in the package. A manifest beside the files, written when they are trained, vouches for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from bench.api.context import Weights
from bench.compute.tensor_file import packed
from bench.errors import BenchError, plain
from bench.files.bounded import is_file, json_of
from bench.files.paths import home
from bench.files.write import write_whole
from bench.models.foreign import bundle
from bench.models.zoo.entries import how_to_get

SUFFIX = ".safetensors"
MANIFEST = "manifest.json"
FILE = "file:"
"""What the name of weights begins with that are any file: the rest is its path."""
PICKLED = "a pickled checkpoint"
ROBUSTBENCH = "robustbench/"
"""What the name of weights begins with that belong to a model of RobustBench."""
THREATS: Mapping[str, str] = {"linf": "Linf", "l2": "L2", "corruptions": "corruptions"}
"""The boards of RobustBench, as here -> as its package and its folders call them."""


class MissingError(BenchError):
    """There is no file of weights of that name.

    spec: what `bench train` calls them, where that is not their name.
    """

    def __init__(self, dataset: str, name: str, spec: str = "") -> None:
        super().__init__(
            f"no weights '{plain(name)}' for data set '{dataset}' in {own(dataset)} or the "
            f"package; {how_to_get(dataset, name, spec)}"
        )


def packaged(dataset: str) -> Path:
    """The folder of weights shipped for `dataset`; it need not exist."""
    return Path(str(files("bench.models.zoo"))) / "weights" / dataset


def own(dataset: str) -> Path:
    """The folder of the weights that the user trained for `dataset`; it need not exist."""
    return home() / "weights" / dataset


def here(dataset: str, name: str) -> bool:
    """Whether there is a file of weights of that name, whole or not; of files by path, unasked."""
    return name.startswith((FILE, ROBUSTBENCH)) or any(
        is_file(folder / f"{name}{SUFFIX}") for folder in (own(dataset), packaged(dataset))
    )


def find(dataset: str, name: str, override: Path | None = None) -> Weights:
    """The first of `override`, the user's own and the packaged weights of that name.

    `file:PATH` and `robustbench/NAME` name files from elsewhere, which may be torch checkpoints.
    Raises BenchError when there are none, or the file is no whole safetensors file, or was trained
    on another data set, or its sha256 is not that of the manifest (where there is one: always for
    packaged files).
    """
    if override is not None:
        if not is_file(override):
            raise BenchError(f"weights file {override} does not exist")
        return _for(dataset, _foreign(dataset, name, [override]))
    if name.startswith(FILE):
        return _for(dataset, _foreign(dataset, name, [_expanded(name.removeprefix(FILE))]))
    if name.startswith(ROBUSTBENCH):
        model = name.removeprefix(ROBUSTBENCH)
        return _foreign(dataset, name, _of_robustbench(dataset, model))
    mine = own(dataset) / f"{name}{SUFFIX}"
    if is_file(mine):
        weights = read(mine, name)
        entry = _entries(mine.parent).get(name)
        return _for(dataset, _vouched(weights, entry.get("sha256") if entry else weights.sha256))
    shipped = packaged(dataset) / f"{name}{SUFFIX}"
    if not is_file(shipped):
        raise MissingError(dataset, name)
    expected = manifest(dataset).get(name, {}).get("sha256")
    return _for(dataset, _vouched(read(shipped, name), expected))


def _vouched(weights: Weights, expected: str | int | None) -> Weights:
    if weights.sha256 != expected:
        raise BenchError(
            f"weights {weights.path} were changed: sha256 {weights.sha256[:12]}, the manifest "
            f"beside them says {str(expected)[:12]}; restore the file or train it again"
        )
    return weights


def _for(dataset: str, weights: Weights) -> Weights:
    trained_on = weights.metadata.get("dataset", dataset)
    if trained_on != dataset:
        raise BenchError(
            f"weights {weights.path} were trained on data set '{trained_on}', not on '{dataset}'"
        )
    return weights


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise BenchError(f"cannot read weights {path}: {error}") from None


def _foreign(dataset: str, name: str, paths: Sequence[Path]) -> Weights:
    """Files of another origin under the first one's path; several have the sha256 of their own.

    Those that say nothing of themselves count as made for `dataset`.
    """
    paths = [file for path in paths for file in bundle.files(path)]
    for path in paths:
        if not is_file(path) and os.path.exists(path):  # a device or a pipe would never end
            raise BenchError(f"cannot read weights {path}: it is no file")
    if len(paths) == 1 and paths[0].suffix == SUFFIX:
        found = read(paths[0], name)
        return replace(found, metadata={"dataset": dataset, **found.metadata})
    digests = []
    for path in paths:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise BenchError(f"cannot read weights {path}: {error.strerror or error}") from None
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    sha256 = digests[0] if len(digests) == 1 else joined
    return Weights(name, paths[0], sha256, {"dataset": dataset})


def model_of(name: str) -> tuple[str, str]:
    """Board and model of a name after `robustbench/`: `l2/NAME`, `corruptions/NAME`, `NAME` (linf).

    Raises:
        BenchError: no board of RobustBench, or linf written out, which would name a model twice.
    """
    board, slash, model = name.rpartition("/")
    if slash and board not in {*THREATS} - {"linf"}:
        raise BenchError(
            f"robustbench/{plain(name)}: models are named robustbench/NAME (linf), "
            "robustbench/l2/NAME and robustbench/corruptions/NAME"
        )
    return board or "linf", model


def _of_robustbench(dataset: str, name: str) -> list[Path]:
    """A model's file, or the files of an ensemble: in ./models (its default) or `$BENCH_HOME`."""
    places = (Path("models"), home() / "robustbench")
    board, model = model_of(name)
    inside = Path(dataset) / THREATS[board]
    for place in places:
        folder = place / inside
        found = [folder / f"{model}.pt"]
        if not is_file(found[0]):
            found = sorted(folder.glob(f"{model}.pt_m*.pt"))
        if found:
            return found
    folders = " or ".join(str(place / inside) for place in places)
    raise BenchError(
        f"no file of robustbench/{name} in {folders}; put its checkpoint there as {model}.pt "
        "(robustbench.utils.load_model downloads it)"
    )


def read(path: Path, name: str | None = None) -> Weights:
    """The `Weights` of one file; BenchError when it is not a whole safetensors file."""
    try:
        with path.open("rb") as whole:
            start = whole.read(512)
            whole.seek(0)
            sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise BenchError(f"cannot read weights {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise BenchError(
            f"weights {path} are {what_it_is(start)}, not a whole safetensors file ({error}); "
            "download or train them again"
        ) from None
    return Weights(name or path.stem, path, sha256, metadata)


def what_it_is(content: bytes) -> str:
    """A guess at what a file holds instead of weights."""
    start = content[:512].lstrip().lower()
    if not content:
        return "empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"pk\x03\x04")):
        return PICKLED
    return "truncated or damaged"


def load_state(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU."""
    try:
        return safetensors.torch.load_file(str(weights.path))
    except (OSError, safetensors.SafetensorError) as error:
        raise BenchError(f"cannot read weights {weights.path}: {error}") from None


def save(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Weights:
    """Write a checkpoint, whole or not at all; equal contents give equal bytes."""
    write_whole(path, packed(state, metadata))
    return read(path)


def check_writable(folder: Path) -> None:
    """Make `folder`; BenchError when no file can be written there (before hours of training)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchError(f"cannot write to {folder}: {error.strerror or error}") from None


def manifest(dataset: str) -> dict[str, dict[str, str | int]]:
    """What vouches for the packaged weights: name -> sha256, bytes, command, merit."""
    return _entries(packaged(dataset))


def _entries(folder: Path) -> dict[str, dict[str, str | int]]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        content = json_of(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry, dict) for entry in content.values()):
            raise ValueError("not an object of objects")
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, AttributeError) as error:
        raise BenchError(f"manifest {path} is not readable JSON: {error}") from None
    return dict(content)


def write_manifest(dataset: str) -> None:
    """Write the manifest of the packaged weights from the files themselves."""
    folder = packaged(dataset)
    found = [read(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    _write_entries(folder, {weights.name: _entry(weights) for weights in found})


def vouch(weights: Weights) -> None:
    """Enter freshly written weights into the manifest beside them."""
    folder = weights.path.parent
    _write_entries(folder, {**_entries(folder), weights.name: _entry(weights)})


def _entry(weights: Weights) -> dict[str, str | int]:
    return {
        "sha256": weights.sha256,
        "bytes": weights.path.stat().st_size,
        "command": weights.metadata.get("command", ""),
        "merit": weights.metadata.get("merit", ""),
    }


def _write_entries(folder: Path, entries: Mapping[str, Mapping[str, str | int]]) -> None:
    text = json.dumps(entries, indent=1, sort_keys=True) + "\n"
    write_whole(folder / MANIFEST, text.encode())
