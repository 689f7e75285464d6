"""`patches`: contrast-normalised 16x16 patches of eight photographs; the class is the photograph.

The photographs lie inside scikit-image's wheel with free licences (docs/data.md). A patch is a
32x32 window averaged to 16x16, in each channel the mean moved to .5, the joint contrast scaled to
rms .18, clipped and rounded to 8 bits. Each photograph is cut into blocks of 64x64 pixels, and a
block belongs to one split only, so no pixel of a test patch occurs in training.

The prototype that chose this recipe looked at test images of another split of the same
photographs; the split here has a seed of its own, but its photographs were partly seen.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import dataset
from bench.api.images import SPLITS, Dataset, DatasetInfo, Images
from bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

PHOTOGRAPHS = {
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "brick": "brick.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
}
SPLIT_SEED = 20262
PER_CLASS = {"train": 800, "validation": 64, "test": 64}
SHARE = {"train": 0.60, "validation": 0.15, "test": 0.25}
SIDE = 16
"""Pixels of a patch; everything below is measured in the photograph averaged 2x2."""
BLOCK = 32
MEAN, RMS, GAIN_FLOOR = 0.5, 0.18, 0.05
POOLS = ((4, 0.035), (2, 0.035), (2, 0.0175))
"""(stride, least contrast) of the windows allowed; a class that has too few goes to the next."""

PATCHES = DatasetInfo(
    name="patches",
    title="contrast-normalised 16x16 RGB patches of eight photographs, class = photograph",
    shape=(3, SIDE, SIDE),
    classes=tuple(PHOTOGRAPHS),
    threat="linf:8/255",
    threats=("linf:4/255", "l2:0.5"),
    draws=4,
    embedded=True,
    clustered=True,
)


@dataset("patches", info=PATCHES)
def patches() -> Dataset:
    """6,400 training, 512 validation and 512 test patches, balanced over eight classes."""
    return Dataset(PATCHES, _load)


def _load(split: str) -> Images:
    return _splits()[split]


@cache
def _splits() -> dict[str, Images]:
    import numpy as np
    import torch

    found: dict[str, list[tuple[Array, Ints, Ints]]] = {split: [] for split in SPLITS}
    first_block = 0
    for label, file in enumerate(PHOTOGRAPHS.values()):
        half = _photograph(file)
        rng = np.random.default_rng([SPLIT_SEED, label])
        for split, blocks in _split_blocks(half, rng).items():
            x, block = _choose(half, blocks, PER_CLASS[split], rng)
            found[split].append((x, np.full(len(x), label), block + first_block))
        first_block += (half.shape[0] // BLOCK) * (half.shape[1] // BLOCK)
    splits = {}
    for split, parts in found.items():
        x, y, block = (np.concatenate(column) for column in zip(*parts, strict=True))
        splits[split] = Images(
            torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32).copy()),
            torch.from_numpy(y.astype(np.int64)),
            torch.from_numpy(block.astype(np.int64)),
        )
    return splits


def _photograph(file: str) -> Array:
    """The photograph averaged 2x2: float64 [h,w,3] in [0,1]; grey ones fill three channels."""
    import numpy as np
    from PIL import Image

    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise BenchError("data set 'patches' needs scikit-image; install it")
    path = Path(spec.origin).parent / "data" / file
    if not path.is_file():
        raise BenchError(f"data set 'patches' needs {file}, which scikit-image does not bundle")
    with Image.open(path) as image:
        full = np.asarray(image.convert("RGB"), dtype=np.int64)
    h, w = full.shape[0] // 2, full.shape[1] // 2
    pooled: Array = full[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).sum((1, 3)) / (4 * 255)
    return pooled


def _split_blocks(half: Array, rng: np.random.Generator) -> dict[str, Ints]:
    """Deal the blocks that hold a window of the first pool to the splits, by `SHARE`."""
    import numpy as np

    number = (half.shape[0] // BLOCK) * (half.shape[1] // BLOCK)
    _, origin = _windows(half, np.arange(number), *POOLS[0])
    usable = rng.permutation(np.unique(origin))
    test = round(SHARE["test"] * len(usable))
    validation = test + round(SHARE["validation"] * len(usable))
    train_part, rest = usable[validation:], usable[:validation]
    return {"train": train_part, "validation": rest[test:], "test": rest[:test]}


def _choose(half: Array, blocks: Ints, count: int, rng: np.random.Generator) -> tuple[Array, Ints]:
    """`count` distinct normalised patches [count,16,16,3], spread evenly over the blocks."""
    import numpy as np

    for stride, least in POOLS:
        raw, origin = _windows(half, blocks, stride, least)
        x = _normalise(raw)
        _, first = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)
        order = rng.permutation(np.sort(first))
        x, origin = x[order], origin[order]
        if len(x) >= count:
            turn = np.argsort(_rank_within(origin), kind="stable")[:count]
            return x[turn], origin[turn]
    raise BenchError(f"data set 'patches': only {len(x)} of {count} patches in a split")


def _windows(half: Array, blocks: Ints, stride: int, least: float) -> tuple[Array, Ints]:
    """All windows [n,16,16,3] inside the blocks with contrast of at least `least`, and blocks."""
    import numpy as np

    across = half.shape[1] // BLOCK
    offsets = range(0, BLOCK - SIDE + 1, stride)
    stacked = np.stack(
        [
            half[top + i : top + i + SIDE, left + j : left + j + SIDE]
            for top, left in ((b // across * BLOCK, b % across * BLOCK) for b in blocks)
            for i in offsets
            for j in offsets
        ]
    )
    keep = _contrast(stacked) >= least
    return stacked[keep], np.repeat(blocks, len(offsets) ** 2)[keep]


def _contrast(x: Array) -> Array:
    """Rms over pixels and channels of [n,16,16,3] about the mean of each channel."""
    import numpy as np

    centred = x - x.mean((1, 2), keepdims=True)
    contrast: Array = np.sqrt((centred**2).mean((1, 2, 3)))
    return contrast


def _normalise(x: Array) -> Array:
    """Channel means to .5, joint contrast to rms .18, clipped to [0,1], on the grid k/255."""
    import numpy as np

    gain = RMS / np.maximum(_contrast(x), GAIN_FLOOR)[:, None, None, None]
    scaled = MEAN + gain * (x - x.mean((1, 2), keepdims=True))
    rounded: Array = np.round(np.clip(scaled, 0, 1) * 255) / 255
    return rounded


def _rank_within(group: Ints) -> Ints:
    """For each element, how many earlier elements share its group."""
    import numpy as np

    order = np.argsort(group, kind="stable")
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(start, size)
    return rank
