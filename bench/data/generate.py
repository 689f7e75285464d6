"""Corrupted test images in files of the layout of CIFAR-10-C, for who has no copy of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bench.api.images import Dataset
from bench.data.corruptions import EXTRA, KINDS, SEVERITIES, corrupt
from bench.data.corruptions.stored import LABELS
from bench.errors import BenchError
from bench.files.download import Progress, quiet

SUFFIX = "-generated"
"""Of the folder: these are not the published files, and nothing may take them for those."""
BATCH = 500


def generate(
    dataset: Dataset,
    folder: str,
    root: Path,
    progress: Progress = quiet,
    kinds: tuple[str, ...] = KINDS + EXTRA,
) -> Path:
    """Every kind at every severity of the test images, whole or absent: `root/<folder>-generated`.

    The random numbers of a kind and severity depend on these two alone.

    Raises:
        BenchError: the data set is not there, or the folder is, or cannot be written.
    """
    import numpy as np

    from bench.compute import rng

    target = root / f"{folder}{SUFFIX}"
    if target.exists():
        raise BenchError(f"{target} is there already")
    number = len(dataset.read("test"))
    batches = [range(i, min(i + BATCH, number)) for i in range(0, number, BATCH)]
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{folder}-", dir=root))
    except OSError as error:
        raise BenchError(f"cannot write to {root}: {error.strerror or error}") from None
    try:
        for done, kind in enumerate(kinds):
            progress(kind, done, len(kinds))
            blocks = []
            for severity in SEVERITIES:
                with rng.seeded("generate", kind, severity):
                    for batch in batches:
                        x = corrupt(dataset.take("test", batch).x, kind, severity)
                        blocks.append((x * 255).round().byte().permute(0, 2, 3, 1).numpy())
            np.save(staging / f"{kind}.npy", np.concatenate(blocks))
        label = dataset.read("test").y.numpy()
        np.save(staging / f"{LABELS}.npy", np.tile(label, len(SEVERITIES)))
        staging.replace(target)
    except OSError as error:
        raise BenchError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    progress(folder, len(kinds), len(kinds))
    return target
