"""Common corruptions: images that no one attacked (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.transfer import fingerprint
from bench import rng
from bench.attack import Attacked
from bench.data.corruptions import EXTRA, KINDS, SEVERITIES, corrupt
from bench.defense import Defense
from bench.errors import BenchError, unknown
from bench.registry import attack
from bench.spec import Settings
from bench.threat import ThreatModel


@dataclass(frozen=True)
class Corruption:
    """Every kind at every severity, one variant `kind/severity` each.

    Randomness comes from the images alone, so that every defense sees the same ones.
    """

    kinds: tuple[str, ...] = KINDS
    severities: tuple[int, ...] = SEVERITIES

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """Corrupted images [V,B,C,H,W] in [0,1], on the grid k/255."""
        chosen = [(kind, severity) for kind in self.kinds for severity in self.severities]
        images, seed = [], fingerprint(x)
        for kind, severity in chosen:
            with rng.seeded("corruption", kind, severity, seed):
                images.append(corrupt(x, kind, severity))
        return Attacked(torch.stack(images), tuple(f"{kind}/{level}" for kind, level in chosen))


def parse_kinds(text: str) -> tuple[str, ...]:
    """`all` (the paper's fifteen) or kinds joined by `+`.

    Raises:
        BenchError: a kind that does not exist, or one named twice.
    """
    kinds = KINDS if text == "all" else tuple(text.split("+"))
    for kind in kinds:
        if kind not in KINDS + EXTRA:
            raise unknown("corruption", kind, (*KINDS, *EXTRA, "all"))
    return _distinct("kinds", text, kinds)


def parse_severities(text: str) -> tuple[int, ...]:
    """`all` or severities joined by `+`.

    Raises:
        BenchError: not a severity, or one named twice.
    """
    allowed = {str(severity): severity for severity in SEVERITIES}
    words = tuple(allowed) if text == "all" else tuple(text.split("+"))
    for word in words:
        if word not in allowed:
            raise unknown("severity", word, (*allowed, "all"))
    return tuple(allowed[word] for word in _distinct("severities", text, words))


def _distinct(key: str, text: str, words: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(words)) < len(words):
        raise BenchError(f"corruption: {key}={text} names one twice")
    return words


def _variants(settings: Settings) -> int:
    kinds, severities = str(settings["kinds"]), str(settings["severities"])
    return len(parse_kinds(kinds)) * len(parse_severities(severities))


@attack(
    "corruption",
    source="Hendrycks & Dietterich 2019, CIFAR-10-C",
    norms=("corruption",),
    settings={"quick": {"kinds": "gaussian_noise+fog+pixelate", "severities": "1+3+5"}},
    variants=_variants,
)
def corruption(*, kinds: str = "all", severities: str = "all") -> Corruption:
    """Common corruptions at five severities; a threat of their own, outside any ball."""
    return Corruption(parse_kinds(kinds), parse_severities(severities))
