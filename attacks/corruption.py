"""Common corruptions: images that no one attacked (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from attacks.transfer import fingerprint
from bench.api import attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute import rng
from bench.data.corruptions import EXTRA, KINDS, SEVERITIES, corrupt
from bench.data.corruptions.stored import digest, missing, stored
from bench.errors import BenchError
from bench.spec import Later, Settings, joined_names

GENERATED = "generated"
PUBLISHED = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
"""Data set -> the folder of its published corrupted images, under the data root."""


@dataclass(frozen=True)
class Corruption:
    """Every kind at every severity, one variant `kind/severity` each.

    source: `generated` by our functions, with randomness from the images alone, so that every
    defense sees the same ones; or the folder of files that hold them, by index in the test set.
    """

    kinds: tuple[str, ...] = KINDS
    severities: tuple[int, ...] = SEVERITIES
    source: str = GENERATED
    index: tuple[int, ...] | None = None

    def at(self, split: str, index: Sequence[int]) -> Corruption:
        """The same on the images `index` of `split`.

        Raises:
            BenchError: files that hold the images of the test split only.
        """
        if split != "test" and self.source != GENERATED:
            raise BenchError(f"corruption: {self.source} holds test images, not {split} images")
        return replace(self, index=tuple(index))

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Corrupted images [V,B,C,H,W] in [0,1], on the grid k/255."""
        chosen = [(kind, severity) for kind in self.kinds for severity in self.severities]
        make = self._generate if self.source == GENERATED else self._read
        images = [make(x, y, kind, severity) for kind, severity in chosen]
        return Attacked(torch.stack(images), tuple(f"{kind}/{level}" for kind, level in chosen))

    def _generate(self, x: Tensor, y: Tensor, kind: str, severity: int) -> Tensor:
        with rng.seeded("corruption", kind, severity, fingerprint(x)):
            return corrupt(x, kind, severity)

    def _read(self, x: Tensor, y: Tensor, kind: str, severity: int) -> Tensor:
        if self.index is None:
            raise BenchError(f"corruption: which images of {self.source} these are is not known")
        found = stored(self.source, kind, severity, self.index, y)
        if found.shape != x.shape:
            raise BenchError(
                f"corruption: {self.source} holds images {tuple(found.shape[1:])}, not "
                f"{tuple(x.shape[1:])}"
            )
        return found.to(x)


def parse_kinds(text: str) -> tuple[str, ...]:
    """`all` (the paper's fifteen) or kinds joined by `+`.

    Raises:
        BenchError: a kind that does not exist, or one named twice.
    """
    if text == "all":
        return KINDS
    return joined_names(text, KINDS + EXTRA, "corruption", "corruption: kinds", "all")


def parse_severities(text: str) -> tuple[int, ...]:
    """`all` or severities joined by `+`.

    Raises:
        BenchError: not a severity, or one named twice.
    """
    if text == "all":
        return SEVERITIES
    names = joined_names(text, map(str, SEVERITIES), "severity", "corruption: severities", "all")
    return tuple(map(int, names))


def parse_source(text: str) -> str:
    """`generated` or the name of a folder under the data root.

    Raises:
        BenchError: a path, which would lead elsewhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise BenchError(
            f"corruption: source={text} is neither '{GENERATED}' nor the name of a folder in the "
            "data root (CIFAR-10-C)"
        )
    return text


def _absent(settings: Settings, dataset: str) -> str | None:
    source = parse_source(str(settings["source"]))
    if source == GENERATED or not (reason := missing(source, parse_kinds(str(settings["kinds"])))):
        return None
    how = next((name for name, folder in PUBLISHED.items() if folder == source), "")
    fetch = f"fetch it: bench fetch {how}-c, or " if how else "put it there, or "
    return f"{reason}; {fetch}take corruption:source={GENERATED}"


def _reads(settings: Settings) -> dict[str, str]:
    source = parse_source(str(settings["source"]))
    kinds = parse_kinds(str(settings["kinds"]))
    return {} if source == GENERATED else {source: digest(source, kinds)}


def _variants(settings: Settings) -> int:
    kinds, severities = str(settings["kinds"]), str(settings["severities"])
    return len(parse_kinds(kinds)) * len(parse_severities(severities))


@attack(
    "corruption",
    source="Hendrycks & Dietterich 2019, CIFAR-10-C",
    paper="Hendrycks & Dietterich 2019",
    link="https://arxiv.org/abs/1903.12261",
    norms=("corruption",),
    settings={
        "quick": {"kinds": "gaussian_noise+fog+pixelate", "severities": "1+3+5"},
        **{dataset: {"source": folder} for dataset, folder in PUBLISHED.items()},
    },
    variants=_variants,
    absent=_absent,
    reads=_reads,
    knows="little",
)
def corruption(
    *, kinds: str = "all", severities: str = "all", source: Annotated[str, Later()] = GENERATED
) -> Corruption:
    """Common corruptions at five severities; a threat of their own, outside any ball."""
    return Corruption(parse_kinds(kinds), parse_severities(severities), parse_source(source))
