"""Readers of what is typed, with whole texts for each; bytes that are no text are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.api import find_attack, find_classifier, find_dataset, find_defense
from bench.api.ball import ThreatModel
from bench.data.subsets import load_subset
from bench.models.zoo import weights as zoo
from bench.plan.slices import Slice
from bench.spec import parse_defense, split_list
from tests.faults.fuzz import Reader


def _typed(read: Callable[[str], object], *texts: str) -> Reader:
    def from_file(path: Path) -> object:
        return read(path.read_bytes().decode("utf-8", "replace").replace("\n", " "))

    whole = [text.encode() for text in texts]
    return Reader("texts", "typed", lambda folder: whole, from_file, named=False)


def _defense(text: str) -> object:
    spec = parse_defense(text)
    for part in spec.parts:
        find_defense(part.name).resolve(part, "patches")
    return str(parse_defense(str(spec))), find_classifier(spec.classifier.name)


def _attack(text: str) -> object:
    found = []
    for one in split_list([text]):
        part = parse_defense(one).parts[0]
        found.append(find_attack(part.name).resolve(part, "patches"))
    return found


def _threat(text: str) -> object:
    return str(ThreatModel.parse(text))


TEXTS: Mapping[str, Reader] = {
    "defense": _typed(_defense, "adp:sigma=0.25,runs=3+gaussian@madry", "none@natural"),
    "attack": _typed(_attack, "bpda-eot:steps=40,restarts=2,bpda", "pgd-exact:step=2/255"),
    "threat": _typed(_threat, "linf:8/255", "l2:0.5", "known:linf:8/255", "flow:0.05", "ssim:0.1"),
    "shard": _typed(Slice.parse, "2/8"),
    "subset-name": _typed(lambda text: load_subset("mnist", text), "first-100", "every-7", "512"),
    "dataset-name": _typed(find_dataset, "patches", "mnist"),
    "weights-name": _typed(lambda text: zoo.find("digits", text), "madry", "natural"),
}
