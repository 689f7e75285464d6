"""What every data set of one's own has in common: its splits, its facts, its identity.

Images that come as one lot are dealt by their own content: the sha256 of an image says whether it
is for training, validation or the test, so that neither the order, the number nor the names of the
others ever move it, and two copies of one image lie in the same split. Lots that come as train and
test stay so; a validation part that is not there is taken from the training images in the same way.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.images import SPLITS, Dataset, DatasetInfo, Rows
from bench.errors import BenchError, plain
from bench.threat import Threat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Pixels = NDArray[np.uint8]

WHOLE = "whole"
"""The name of a lot that holds all images, not yet dealt."""
TEST, HELD_OUT = 20, 10
"""Percent of a lot that are test images, and that are validation images."""
DEFAULT = 512
"""Images of the default subset, where there are more."""
MOST_CLASSES = 100_000


@dataclass(frozen=True, eq=False)
class Lot:
    """Images in a fixed order, of which none is decoded before it is asked for.

    where: how a message calls it. pixels(rows): uint8 [n,C,H,W]. digest(row): the sha256 of one
    image's content. check(rows): raises BenchError where images are not as the data set says.
    """

    where: str
    labels: Sequence[int]
    pixels: Callable[[Sequence[int]], Pixels]
    digest: Callable[[int], bytes]
    check: Callable[[Sequence[int]], None] = lambda rows: None


class Seen:
    """The digests of images as they were first read: those that all records of a run are of."""

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}

    def digest(self, row: int, read: Callable[[], bytes]) -> bytes:
        """The first digest of an image; `read` gives it where there is none yet."""
        if row not in self._digests:
            self._digests[row] = read()
        return self._digests[row]

    def require(self, row: int, digest: bytes, where: str, hint: str = "") -> None:
        """Raise BenchError where an image is another one than before."""
        if self._digests.setdefault(row, digest) != digest:
            raise changed_since(where, hint)


def changed_since(where: str, hint: str = "") -> BenchError:
    """The error for what was read before and is now something else."""
    return BenchError(f"{where} changed since it was first read; start again{hint}")


Hands = Mapping[str, tuple[Lot, Sequence[int]]]
"""By split, a lot and the rows of it."""


def data_set(lots: Mapping[str, Lot], info: DatasetInfo) -> Dataset:
    """A data set of lots by name: one `whole`, or `test` with or without `train`, `validation`.

    info: what is known besides the number of test images, the default subset and the split.

    Raises:
        BenchError: labels out of range, a class without images, a split without any.
    """
    try:
        Threat.parse(info.threat)
        hands, split = deal(lots)
        for name, (lot, rows) in hands.items():
            _require_classes(name, lot, rows, info.classes)
    except BenchError as error:
        raise BenchError(f"data set '{info.name}': {error}") from None
    number = len(hands["test"][1])
    facts = vars(info) | {
        "embedded": True,
        "published": number,
        "subset": str(DEFAULT) if number > DEFAULT else "test",
        "split": split,
    }
    return Dataset(DatasetInfo(**facts), Dealt(info.name, hands))


def deal(lots: Mapping[str, Lot]) -> tuple[Hands, str]:
    """Which rows of which lot are train, validation and test, and in words how that was decided."""
    said = []
    hands: dict[str, tuple[Lot, Sequence[int]]]
    if len(lots) == 1 and (lot := lots.get(WHOLE) or lots.get("train")):
        shares = [_percent(lot.digest(row)) for row in range(len(lot.labels))]
        hands = {
            "train": _rows(lot, shares, TEST + HELD_OUT, 100),
            "validation": _rows(lot, shares, TEST, TEST + HELD_OUT),
            "test": _rows(lot, shares, 0, TEST),
        }
        said.append(f"test ({TEST} %) and validation ({HELD_OUT} %) by the digests of the images")
    else:
        parts = dict(lots)
        if "test" not in parts and {"train", "validation"} <= set(parts):
            parts["test"] = parts.pop("validation")
            said.append("the validation images are the test images")
        hands = {name: (lot, range(len(lot.labels))) for name, lot in parts.items()}
        if "test" not in parts:
            raise BenchError(f"{_names(lots)}: there are no test images; name them test")
        if "train" in parts and "validation" not in parts:
            lot = parts["train"]
            digests = [lot.digest(row) for row in range(len(lot.labels))]
            shares = [_percent(digest) for digest in digests]
            hands["validation"] = _rows(lot, shares, 0, HELD_OUT)
            hands["train"] = _rows(lot, shares, HELD_OUT, 100)
            said.append(f"validation: {HELD_OUT} % of train by the digests of the images")
            said += _shared(parts["test"], set(digests))
    counts = ", ".join(f"{len(hands[name][1]):,} {name}" for name in SPLITS if name in hands)
    return hands, "; ".join([counts, *said])


def _shared(test: Lot, digests: Set[bytes]) -> list[str]:
    """A note where test images are training images too."""
    number = len(test.labels)
    both = sum(test.digest(row) in digests for row in range(number))
    return [f"{both:,} of {number:,} test images are also among those of train"] if both else []


def _names(lots: Mapping[str, Lot]) -> str:
    return ", ".join(lot.where for lot in lots.values())


def _percent(digest: bytes) -> float:
    return int.from_bytes(digest[:8], "big") / 2**64 * 100


def _rows(lot: Lot, shares: Sequence[float], low: int, high: int) -> tuple[Lot, list[int]]:
    return lot, [row for row, share in enumerate(shares) if low <= share < high]


def _require_classes(split: str, lot: Lot, rows: Sequence[int], classes: Sequence[str]) -> None:
    """Refuse labels that are no class, and classes that nothing is known of."""
    if not rows:
        raise BenchError(f"{lot.where} gives no {split} images; more are needed, or parts by name")
    if wrong := [label for label in lot.labels if not 0 <= label < len(classes)]:
        raise BenchError(
            f"{lot.where} has the label {wrong[0]}; labels are 0 to {len(classes) - 1}"
        )
    counted = Counter(lot.labels[row] for row in rows)
    absent = [name for label, name in enumerate(classes) if not counted[label]]
    if absent and split != "validation":
        whole = lot.labels.count(classes.index(absent[0]))
        dealt = f" (it has {whole} in all: put train and test apart yourself)" if whole else ""
        raise BenchError(f"{lot.where}: class '{plain(absent[0])}' has no {split} image{dealt}")


@dataclass(frozen=True, eq=False)
class Dealt:
    """The `load` of a data set: from the name of a split to its images."""

    dataset: str
    hands: Hands

    def __call__(self, split: str) -> Rows:
        """The images of a split; its digest is of all of them, so that a changed file is another.

        Raises:
            BenchError: there are none, or one is not as the data set says.
        """
        import torch

        if split not in self.hands:
            raise BenchError(
                f"data set '{self.dataset}' has no {split} images, only {', '.join(self.hands)}"
            )
        lot, rows = self.hands[split]
        try:
            lot.check(rows)
        except BenchError as error:
            raise BenchError(f"data set '{self.dataset}': {error}") from None

        def pixels(index: Sequence[int]) -> Tensor:
            return torch.from_numpy(lot.pixels([rows[i] for i in index])).float() / 255

        def digest() -> str:
            return hashlib.sha256(b"".join(lot.digest(row) for row in rows)).hexdigest()

        y = torch.tensor([lot.labels[row] for row in rows])
        return Rows(y, torch.tensor(list(rows)), pixels, digest)


def place(path: str | Path) -> Path:
    """A path, where it is relative beside the file of whoever called `from_...`."""
    found = Path(path).expanduser()
    caller = str(sys._getframe(2).f_globals.get("__file__", ""))
    return found if found.is_absolute() or not caller else Path(caller).resolve().parent / found


def named(classes: Sequence[str], number: int) -> tuple[str, ...]:
    """The names of the classes: those that were given, else numbers."""
    if not classes and number > MOST_CLASSES:
        raise BenchError(f"labels up to {number - 1}: more than {MOST_CLASSES:,} classes")
    return tuple(map(str, classes)) or tuple(map(str, range(number)))
