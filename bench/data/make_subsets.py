"""Make the committed subset files: `python -m bench.data.make_subsets`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.api.images import Dataset, DatasetInfo, Images
from bench.data.cifar import CIFAR10, CIFAR100
from bench.data.digits import digits
from bench.data.files import HELD_OUT
from bench.data.imagenet import IMAGENET
from bench.data.mnist import FASHION, MNIST
from bench.data.patches import patches
from bench.data.subsets import ORDER_SEED, TEST, Subset, digest_of_index, stratified_order
from bench.data.svhn import SVHN
from bench.data.tinyimagenet import TINY

RULE = (
    "all images of the split; the next class is the one furthest below its share; "
    f"in a class the blocks take turns; ties by seed {ORDER_SEED}"
)
SOURCES = {"512": "test", "validation": "validation"}
FETCHED = (CIFAR10, CIFAR100, SVHN, TINY, IMAGENET, MNIST, FASHION)

DIFFPURE: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "cifar10": {"diffpure": (8, 64), "diffpure-bpda": (5, 200)},
    "imagenet": {"diffpure": (32, 16)},
}
"""Data set -> name -> (draws, images of one): the data seeds and `num_sub` of DiffPure's scripts.

The authors name eight, five and 32 data seeds; that the five are 0 to 4 and the 32 are 0 to 31, as
the eight are 0 to 7, is our reading.
"""


def digest(images: Images, index: Sequence[int]) -> str:
    """Sha256 of the images at `index` as bytes 0..255, [N,C,H,W] contiguous."""
    import torch

    pixels = (images.x[torch.tensor(index)] * 255).round().to(torch.uint8)
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()


def make_subset(dataset: Dataset, name: str, split: str) -> Subset:
    """The subset of all images of `split` in stratified order."""
    images = dataset.images(split)
    label, block = images.y.tolist(), images.block.tolist()
    order = stratified_order(label, block, ORDER_SEED)
    return Subset(
        dataset=dataset.info.name,
        name=name,
        split=split,
        rule=RULE,
        sha256=digest(images, order),
        index=tuple(order),
        label=tuple(label[i] for i in order),
        block=tuple(block[i] for i in order),
    )


def draw(number: int, size: int, seed: int) -> tuple[int, ...]:
    """As the papers' code draws: RandomState(seed).choice(number, size, replace=False)."""
    import numpy as np

    drawn = np.random.RandomState(seed).choice(number, size, replace=False)
    return tuple(int(i) for i in drawn)


def drawn_subsets(info: DatasetInfo) -> dict[str, Subset]:
    """The drawn subsets of a data set that is fetched, by name; labels are not known here."""

    def subset(name: str, split: str, number: int, size: int, seed: int) -> Subset:
        index = draw(number, size, seed)
        rule = f"RandomState({seed}).choice({number}, {size}, replace=False) of the {split} split"
        return Subset(info.name, name, split, rule, digest_of_index(index), index)

    made = [
        subset("512", TEST, info.published, 512, 0),
        subset("validation", "validation", HELD_OUT, 512, 0),
    ]
    for name, (draws, size) in DIFFPURE.get(info.name, {}).items():
        made += [subset(f"{name}-{s}", TEST, info.published, size, s) for s in range(draws)]
    return {item.name: item for item in made}


def to_json(subset: Subset) -> str:
    """The file's text: one key with its value on each line."""
    lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in asdict(subset).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def drawn_json(info: DatasetInfo) -> str:
    """The file of a data set that is fetched: the size of its test set, one line per subset."""
    keys = ("split", "rule", "sha256", "index")
    lines = [
        f"{json.dumps(name)}: {json.dumps({key: getattr(subset, key) for key in keys})}"
        for name, subset in drawn_subsets(info).items()
    ]
    return f'{{"test": {info.published}, "subsets": {{\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    """Write every subset file beside this module."""
    folder = Path(__file__).parent / "subsets"
    folder.mkdir(exist_ok=True)
    for dataset in (patches(), digits()):
        for name, split in SOURCES.items():
            subset = make_subset(dataset, name, split)
            path = folder / f"{subset.dataset}-{name}.json"
            path.write_text(to_json(subset), encoding="utf-8")
            print(f"{path.name}: {len(subset)} images, {len(set(subset.block))} blocks")
    for info in FETCHED:
        path = folder / f"{info.name}.json"
        path.write_text(drawn_json(info), encoding="utf-8")
        print(f"{path.name}: {', '.join(drawn_subsets(info))}")


if __name__ == "__main__":
    main()
