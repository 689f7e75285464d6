"""Published weights, fetched once and converted to safetensors under their name here.

What is written says where it came from (page, licence, sha256 of the original, the weights chosen
in it) and which network it is of, so that it is used like weights that were trained here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.api.context import Weights
from bench.errors import BenchError
from bench.files.download import Progress, Remote, download, quiet, verify
from bench.models.foreign import sidecar, untold
from bench.models.foreign.discriminators import published_parts
from bench.models.foreign.layouts import NORMALISATIONS, USUAL, recognise
from bench.models.foreign.states import read_state
from bench.models.zoo.entries import WEIGHTS, PublishedFile, entries, find, how_to_get, offered
from bench.models.zoo.networks import build
from bench.models.zoo.weights import SUFFIX, own, read, save, vouch

__all__ = ["PublishedFile", "entries", "fetch", "find", "how_to_get", "offered"]

DOWNLOADS = "downloads"
"""Beside the folder of weights: what is on its way. Nothing stays there once it is converted."""


def fetch(
    entry: PublishedFile | str, source: Path | None = None, progress: Progress = quiet
) -> Path:
    """The converted file of an entry; fetched, or converted from `source`, unless it is there.

    Raises BenchError when the file cannot be had without a browser, is not the published one, is of
    another network, or when other weights have its name already.
    """
    entry = find(entry) if isinstance(entry, str) else entry
    folder = own(entry.dataset)
    target = folder / f"{entry.weights}{SUFFIX}"
    if target.is_file():
        return _already(read(target), entry, source)
    remote = Remote(entry.file, entry.urls, entry.bytes, entry.sha256)
    if source is not None:
        verify(source, remote)
        return convert(entry, source, target)
    if not entry.urls:
        raise BenchError(
            f"{WEIGHTS}{entry.name}: no address answers without a browser; get {entry.file} from "
            f"{entry.page} and give it: bench fetch {WEIGHTS}{entry.name} --from FILE"
            + (f" ({entry.note})" if entry.note else "")
        )
    original = download(remote, folder.parents[1] / DOWNLOADS, progress)
    converted = convert(entry, original, target)
    original.unlink(missing_ok=True)
    return converted


def _already(there: Weights, entry: PublishedFile, source: Path | None) -> Path:
    """The file that is there, if it came from this entry and, where one is given, this file."""
    same = there.metadata.get("entry") == entry.name
    if same and source is not None:
        same = there.metadata.get("original_sha256") == _sha256(source)
    if not same:
        raise BenchError(
            f"{WEIGHTS}{entry.name}: other weights are named '{entry.weights}' in {there.path} "
            f"({there.metadata.get('source') or 'trained here'}); move that file away first"
        )
    return there.path


def convert(entry: PublishedFile, source: Path, target: Path) -> Path:
    """Write `target` from a published file; BenchError unless it holds what the entry says."""
    weights = Weights(entry.weights, source, _sha256(source), {"dataset": entry.dataset})
    state = read_state(weights, entry.part)
    facts = {
        "dataset": entry.dataset,
        "command": f"bench fetch {WEIGHTS}{entry.name}",
        "entry": entry.name,
        "source": entry.urls[0] if entry.urls else entry.page,
        "licence": entry.licence,
        "original": source.name,
        "original_sha256": weights.sha256,
        "part": entry.part or "as published",
    }
    if entry.reported:
        facts["merit"] = f"reported: {entry.reported}"
    tensors: dict[str, Tensor]
    if entry.network:
        found, _ = untold.chosen(recognise(state, str(source)), state, "", str(source))
        _require(entry, found.network, found.arguments, source)
        sidecar.compare(source, found.arguments)
        made = build(found, str(source))
        kept = made.state_dict()
        tensors = {key: found.tensors.get(key, value) for key, value in kept.items()}
        usual = USUAL.get((found.network, entry.dataset), "none")
        layer = NORMALISATIONS[entry.normalisation or usual]
        normalisation = layer and {"mean": layer[0], "std": layer[1]}
        facts |= {
            "network": found.network,
            "arguments": json.dumps(found.arguments, sort_keys=True),
            "normalisation": json.dumps(normalisation),
        }
    else:
        tensors = published_parts(state.tensors, str(source))
    # Published tensors may share memory; what is written may not.
    return _saved(target, {key: value.clone() for key, value in tensors.items()}, facts)


def _saved(target: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> Path:
    written = save(target, tensors, facts)
    vouch(written)
    return written.path


def _require(entry: PublishedFile, network: str, arguments: dict[str, Any], source: Path) -> None:
    """The network must be the entry's, down to the sizes that it names."""
    if network != entry.network:
        raise BenchError(f"{source} is of network '{network}'; {entry.name} is '{entry.network}'")
    for key, value in entry.arguments.items():
        if arguments.get(key) != value:
            raise BenchError(
                f"{source} is a {network} with {key}={arguments.get(key)}; {entry.name} has "
                f"{key}={value}"
            )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
