"""`digits`: scikit-learn's 1,797 handwritten digits at 16x16, for tests and smoke runs.

The prototype that chose this data set looked at the test images of another split, so all of the
1,797 images were partly seen; the split here has a seed of its own.
"""

from __future__ import annotations

from functools import cache

from bench.api import dataset
from bench.api.images import Dataset, DatasetInfo, Images

SPLIT_SEED = 20261
TEST, VALIDATION = 512, 256

DIGITS = DatasetInfo(
    name="digits",
    title="scikit-learn digits, 8x8 enlarged to 16x16, one channel",
    shape=(1, 16, 16),
    classes=tuple("0123456789"),
    threat="linf:0.125",
    threats=("linf:0.1", "linf:0.15", "l2:1"),
    draws=4,
    embedded=True,
)


@dataset("digits", info=DIGITS)
def digits() -> Dataset:
    """1,029 training, 256 validation and 512 test images, each split stratified by class."""
    return Dataset(DIGITS, _load)


def _load(split: str) -> Images:
    return _splits()[split]


@cache
def _splits() -> dict[str, Images]:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    small = torch.from_numpy(raw.images).unsqueeze(1) / 16
    x = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    x = ((x * 255).round() / 255).float()
    y = torch.from_numpy(raw.target).long()

    def halve(index: np.ndarray, size: int) -> list[np.ndarray]:
        parts: list[np.ndarray] = train_test_split(
            index, test_size=size, stratify=raw.target[index], random_state=SPLIT_SEED
        )
        return parts

    rest, test = halve(np.arange(len(y)), TEST)
    train, validation = halve(rest, VALIDATION)
    parts = {"train": train, "validation": validation, "test": test}
    return {
        name: Images(x[i], y[i], i)
        for name, i in ((name, torch.from_numpy(np.sort(part))) for name, part in parts.items())
    }
