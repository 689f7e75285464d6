"""Make the committed subset files: `python -m bench.data.make_subsets`."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.data.base import Dataset, Images
from bench.data.digits import digits
from bench.data.patches import patches
from bench.data.subsets import Subset

ORDER_SEED = 20263
RULE = (
    "all images of the split; the next class is the one furthest below its share; "
    f"in a class the blocks take turns; ties by seed {ORDER_SEED}"
)
SOURCES = {"512": "test", "validation": "validation"}


def stratified_order(label: Sequence[int], block: Sequence[int], seed: int) -> list[int]:
    """Positions in an order whose every prefix has each class within one of its share.

    Inside a class the blocks take turns, so that a prefix also spreads over blocks.
    """
    rng = random.Random(seed)
    shuffled = rng.sample(range(len(label)), len(label))
    turns: Counter[tuple[int, int]] = Counter()
    turn = {}
    for i in shuffled:
        key = (label[i], block[i])
        turn[i] = turns[key]
        turns[key] += 1
    queues: dict[int, list[int]] = {}
    for i in sorted(shuffled, key=lambda i: turn[i]):
        queues.setdefault(label[i], []).append(i)
    total = {c: len(queue) for c, queue in queues.items()}
    order: list[int] = []
    taken: Counter[int] = Counter()
    for n in range(1, len(label) + 1):
        # A class that is used up has a deficit of at most 0 and others are ahead of it.
        deficit = {c: total[c] * n / len(label) - taken[c] for c in total if taken[c] < total[c]}
        ties = [c for c, value in deficit.items() if value > max(deficit.values()) - 1e-9]
        chosen = rng.choice(ties)
        order.append(queues[chosen][taken[chosen]])
        taken[chosen] += 1
    return order


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


def to_json(subset: Subset) -> str:
    """The file's text: one key with its value on each line."""
    lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in asdict(subset).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write every subset of the embedded data sets beside this module."""
    folder = Path(__file__).parent / "subsets"
    folder.mkdir(exist_ok=True)
    for dataset in (patches(), digits()):
        for name, split in SOURCES.items():
            subset = make_subset(dataset, name, split)
            path = folder / f"{subset.dataset}-{name}.json"
            path.write_text(to_json(subset), encoding="utf-8")
            print(f"{path.name}: {len(subset)} images, {len(set(subset.block))} blocks")


if __name__ == "__main__":
    main()
