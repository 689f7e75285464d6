"""Committed subsets: which images are scored, and in which order; reads without torch.

A subset orders images of one split so that every prefix is stratified: after any number of images
the count of each class is within one of its share. A shard is `SHARD` images of that order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bench.errors import BenchError, unknown


@dataclass(frozen=True)
class Subset:
    """Committed order of images of `dataset`; row i is image `index[i]` of `split`."""

    dataset: str
    name: str
    split: str
    rule: str
    """How the order was made, in words."""
    sha256: str
    """Of the images in this order, as bytes 0..255, [N,C,H,W] contiguous."""
    index: tuple[int, ...]
    label: tuple[int, ...]
    block: tuple[int, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.index)


@cache
def load_subset(dataset: str, name: str) -> Subset:
    """The subset `name` (`512`, `validation`) of `dataset`.

    Raises:
        BenchError: for a name that is not committed, or a damaged file.
    """
    known = subset_names(dataset)
    if name not in known:
        raise unknown(f"subset of data set '{dataset}'", name, known)
    file = files(__package__) / "subsets" / f"{dataset}-{name}.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        index, label, block = (tuple(map(int, raw[key])) for key in ("index", "label", "block"))
        rule, split, sha256 = (str(raw[key]) for key in ("rule", "split", "sha256"))
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"subset file {dataset}-{name}.json is damaged; reinstall it") from error
    if not len(index) == len(label) == len(block):
        raise BenchError(f"subset file {dataset}-{name}.json has columns of unequal length")
    return Subset(dataset, name, split, rule, sha256, index, label, block)


def subset_names(dataset: str) -> tuple[str, ...]:
    """Names of the committed subsets of `dataset`, sorted; empty when it has none."""
    prefix, suffix = f"{dataset}-", ".json"
    found = (entry.name for entry in (files(__package__) / "subsets").iterdir())
    return tuple(
        sorted(
            name.removeprefix(prefix).removesuffix(suffix)
            for name in found
            if name.startswith(prefix) and name.endswith(suffix)
        )
    )
