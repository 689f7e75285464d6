"""`cifar10` and `cifar100`: the python batches of Krizhevsky (2009), in torchvision's folders.

`cifar10-compact` has the images of `cifar10` and small networks of its own, which are
shipped.

Threats: linf 8/255 is that of ADP, ScoreOpt, DiffPure and AID-Purifier; l2 0.5 is ScoreOpt's and
DiffPure's; 16/255 is what AID-Purifier purifies CIFAR-100 with (its Table 6), not an attack.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Rows
from bench.data.files import damaged, require, rows_of_bytes
from bench.errors import plain
from bench.files.bounded import content_of
from bench.files.pickles import Made, Name, PickleError, parse

if TYPE_CHECKING:
    from bench.data.files import Bytes

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
FILES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cifar10": {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    "cifar100": {"train": ("train",), "test": ("test",)},
}
LABELS = {"cifar10": "labels", "cifar100": "fine_labels"}

FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR10 = DatasetInfo(
    name="cifar10",
    title="CIFAR-10, 32x32 RGB",
    shape=(3, 32, 32),
    classes=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    threat="linf:8/255",
    threats=("linf:4/255", "l2:0.5", "l2:1"),
    published=10_000,
    sha256="177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
)
COMPACT = replace(
    CIFAR10,
    name="cifar10-compact",
    title="CIFAR-10 with compact networks that are shipped, not the papers'",
    images_of="cifar10",
)
CIFAR100 = DatasetInfo(
    name="cifar100",
    title="CIFAR-100, 32x32 RGB, fine labels",
    shape=(3, 32, 32),
    classes=tuple(FINE.split()),
    threat="linf:8/255",
    threats=("linf:4/255", "l2:0.5"),
    published=10_000,
)


@dataset("cifar10", info=CIFAR10)
def cifar10() -> Dataset:
    """45,000 training, 5,000 validation and 10,000 test images of ten classes."""
    return Dataset(CIFAR10, _load10)


@dataset("cifar10-compact", info=COMPACT)
def cifar10_compact() -> Dataset:
    """The images of `cifar10`, under networks that two cores can afford."""
    return Dataset(COMPACT, _load10)


@dataset("cifar100", info=CIFAR100)
def cifar100() -> Dataset:
    """45,000 training, 5,000 validation and 10,000 test images of a hundred classes."""
    return Dataset(CIFAR100, _load100)


def _load10(split: str) -> Rows:
    return _load(CIFAR10, split)


def _load100(split: str) -> Rows:
    return _load(CIFAR100, split)


def _load(info: DatasetInfo, split: str) -> Rows:
    import numpy as np

    names = FILES[info.name]["test" if split == "test" else "train"]
    files = require(info.name, *(f"{FOLDERS[info.name]}/{name}" for name in names))
    batches = [read_batch(file, LABELS[info.name], info.name) for file in files]
    pixels = np.concatenate([batch for batch, _ in batches])
    labels = [label for _, part in batches for label in part]
    return rows_of_bytes(info, split, pixels, labels, files[0])


def read_batch(path: Path, key: str, dataset: str = "cifar10") -> tuple[Bytes, list[int]]:
    """Images uint8 [N,3,32,32] and labels of one python batch.

    The batches are pickles, which are followed and not run.

    Raises:
        BenchError: not such a batch.
    """
    import numpy as np

    try:
        batch: Any = parse(io.BytesIO(content_of(path)), CALLS.__contains__)
        shape, code, raw = _array(batch["data"])
        labels = batch[key]
        if code.lstrip("|") != "u1" or len(shape) != 2 or shape[1] != 3 * 32 * 32:
            raise ValueError("an array of other numbers")
        if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
            raise ValueError("labels that are no numbers")
        pixels = np.frombuffer(raw, np.uint8).reshape(shape[0], 3, 32, 32)
    except _UNREADABLE as error:
        reason = plain(" ".join(str(error).split()) or type(error).__name__, 120)
        raise damaged(path, f"is not a python batch of CIFAR ({reason})", dataset) from None
    return pixels, labels


_UNREADABLE = (PickleError, ValueError, LookupError, TypeError, AttributeError, OverflowError)
CODED = Name("_codecs", "encode")
"""How Python 3 writes bytes for Python 2."""
CALLS = {
    *(Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *(Name("numpy", "dtype"), CODED),
}


def _array(node: Any) -> tuple[tuple[int, ...], str, bytes]:
    """Shape, type and bytes of an array in the order of C; anything else ends in _UNREADABLE."""
    _, shape, kind, fortran, raw = node.state
    if isinstance(raw, Made) and raw.of == CODED and raw.arguments[1] == "latin1":
        raw = raw.arguments[0]
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if fortran or not isinstance(raw, bytes) or not isinstance(kind.arguments[0], str):
        raise ValueError("an array of other numbers")
    return shape, kind.arguments[0], raw
