"""What the readers of fetched data sets share: where files lie, what is held out, rows of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.images import DatasetInfo, Rows
from bench.errors import BenchError
from bench.files.paths import data_root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Bytes = NDArray[np.uint8]
    Ints = NDArray[np.int64]

SPLIT_SEED = 20264
HELD_OUT = 5_000
RULE = (
    f"validation: {HELD_OUT:,} training images (a tenth of a smaller set) drawn by "
    f"RandomState({SPLIT_SEED}).permutation, in the order of the file; train: the others"
)


def require(dataset: str, *paths: str) -> list[Path]:
    """The paths under the data root; all of them must be there.

    Raises:
        BenchError: the first that is not, the folder looked in, and the command that fetches it.
    """
    found = [data_root() / path for path in paths]
    for path, name in zip(found, paths, strict=True):
        if not path.exists():
            raise BenchError(
                f"data set '{dataset}' is not in {data_root()} (no {name}); fetch it: bench fetch "
                f"{dataset}, or name the folder that has it: --data-root"
            )
    return found


def damaged(path: Path, what: str, dataset: str) -> BenchError:
    """The error for a file that is not what its name says."""
    return BenchError(f"{path} {what}; fetch it again: bench fetch {dataset}")


def held_out(number: int, split: str) -> Ints:
    """Rows of a training set of `number` images that are `train` or `validation`, in order."""
    import numpy as np

    drawn = np.random.RandomState(SPLIT_SEED).permutation(number)
    size = min(HELD_OUT, number // 10)
    return np.sort(drawn[:size] if split == "validation" else drawn[size:]).astype(np.int64)


def part(number: int, split: str) -> Ints:
    """Rows of the published set that a split comes from: all of the test set, some of training."""
    import numpy as np

    return np.arange(number) if split == "test" else held_out(number, split)


def rows_of_bytes(
    info: DatasetInfo, split: str, pixels: Bytes, label: Sequence[int] | Ints, where: Path
) -> Rows:
    """A split kept as bytes: `pixels` [N,C,H,W] and `label` [N] of the published set it is of.

    Raises:
        BenchError: other shapes than `info` says, labels that are no class, or as many test images
            as were published, and not those.
    """
    import numpy as np
    import torch

    if pixels.shape[1:] != info.shape:
        raise damaged(where, f"holds images {pixels.shape[1:]}, not {info.shape}", info.name)
    if info.sha256 and split == "test" and len(pixels) == info.published:
        found = hashlib.sha256(pixels.tobytes()).hexdigest()
        if found != info.sha256:
            raise damaged(where, f"holds other images than {info.source}'s published", info.name)
    chosen = part(len(pixels), split)
    kept = pixels[chosen]

    def read(index: Sequence[int]) -> Tensor:
        return torch.from_numpy(kept[np.asarray(index, dtype=np.int64)]).float() / 255

    return Rows(*labels_of(info, label, len(pixels), chosen, where), read)


def labels_of(
    info: DatasetInfo, label: Sequence[int] | Ints, number: int, chosen: Ints, where: Path
) -> tuple[Tensor, Tensor]:
    """Labels and blocks of the rows `chosen` of `number` images; every image is its own block."""
    import numpy as np
    import torch

    found = np.asarray(label, dtype=np.int64).reshape(-1)
    if len(found) != number or number == 0:
        raise damaged(where, f"holds {number} images and {len(found)} labels", info.name)
    if found.min() < 0 or found.max() >= len(info.classes):
        raise damaged(where, f"has labels outside 0..{len(info.classes) - 1}", info.name)
    return torch.from_numpy(found[chosen]), torch.from_numpy(chosen)
