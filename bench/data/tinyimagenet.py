"""`tinyimagenet`: the 200 classes of Le and Yang (2015) at 64x64, as the archive unpacks.

Its test labels were never published: the test split here is its validation folder, in the order of
`val_annotations.txt`. A class is its place among the sorted wnids. Threat: linf 8/255
(AID-Purifier).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, labels_of, part, require
from bench.data.imagenet import class_folders, decode
from bench.errors import plain
from bench.files.bounded import text_of

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "tiny-imagenet-200"
LONGEST = 10_000_000
"""Bytes of a list of files; the published ones have half a million."""

TINY = DatasetInfo(
    name="tinyimagenet",
    title="TinyImageNet, 200 classes, 64x64 RGB",
    shape=(3, 64, 64),
    classes=tuple(map(str, range(200))),
    threat="linf:8/255",
    threats=("linf:4/255", "l2:0.5"),
    published=10_000,
)


@dataset("tinyimagenet", info=TINY)
def tinyimagenet() -> Dataset:
    """95,000 training, 5,000 validation and 10,000 test images (its validation folder)."""
    return Dataset(TINY, _load)


def _load(split: str) -> Rows:
    if split == "test":
        files, label, where = _annotated()
    else:
        (where,) = require("tinyimagenet", f"{FOLDER}/train")
        files, label = class_folders(TINY, where)
    chosen = part(len(files), split)
    paths = [files[row] for row in chosen.tolist()]
    y, block = labels_of(TINY, label, len(files), chosen, where)
    return Rows(y, block, lambda index: _pixels([paths[i] for i in index]))


def _annotated() -> tuple[list[str], list[int], Path]:
    """Files and labels of the validation folder, in the order of its list."""
    table, listed = require(
        "tinyimagenet", f"{FOLDER}/val/val_annotations.txt", f"{FOLDER}/wnids.txt"
    )
    wnids = sorted(set(text_of(listed, LONGEST).split()))
    if len(wnids) != len(TINY.classes):
        raise damaged(listed, f"lists {len(wnids)} classes, not {len(TINY.classes)}", TINY.name)
    place = {wnid: label for label, wnid in enumerate(wnids)}
    files, label = [], []
    for line in text_of(table, LONGEST).splitlines():
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in place or not name or Path(name).name != name:
            raise damaged(table, f"has the line '{plain(line, 40)}'", TINY.name)
        files.append(str(table.parent / "images" / name))
        label.append(place[wnid])
    return files, label, table


def _pixels(paths: Sequence[str]) -> Tensor:
    return decode(paths, None, TINY.shape, TINY.name)
