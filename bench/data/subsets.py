"""Subsets: which images are scored, and in which order; planning reads them without torch.

Every prefix of the order is stratified: after any number of images the count of each class is
within one of its share. A shard is 32 images of that order. The files of embedded data hold order
and labels; those of fetched data (`<data set>.json`) hold which images were drawn and by which
rule, and the order follows from the labels when the data is read (`in_order`). Of those data sets
`test`, `first-N` and `every-N` need no file; of a plug-in, neither does `512`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bench import api
from bench.errors import BenchError, unknown
from bench.files.bounded import json_of

if TYPE_CHECKING:
    from bench.api.images import Dataset, DatasetInfo

ORDER_SEED = 20263
TEST = "test"
COMPUTED = re.compile(r"(first|every)-([1-9][0-9]{0,8})")
MOST = 10**8
"""Images that a data set may have."""
FORMS = (TEST, "first-N", "every-N")
PLUGIN = "plugin"
SOME = 512
"""Images of the subset of that name, which has each class as often as the whole test set."""


@dataclass(frozen=True)
class Subset:
    """Committed choice of images of `dataset`; row i is image `index[i]` of `split`.

    Where the labels are committed too (embedded data) the rows are in stratified order; else
    `label` and `block` are empty, and `in_order` puts the rows in order.
    """

    dataset: str
    name: str
    split: str
    rule: str
    """How the order was made, or the images drawn, in words."""
    sha256: str
    """Of the images in this order, as bytes 0..255, [N,C,H,W] contiguous; where nothing but the
    choice is committed, of the chosen indices as text."""
    index: tuple[int, ...]
    label: tuple[int, ...] = ()
    block: tuple[int, ...] = ()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.index)


@cache
def load_subset(dataset: str, name: str) -> Subset:
    """The subset `name` (`512`, `validation`, `first-1000`) of `dataset`.

    Raises:
        BenchError: for a name that is not known, or a damaged file.
    """
    drawn = _drawn(dataset)
    if drawn is not None and (computed := _computed(dataset, name, drawn)) is not None:
        return computed
    known = subset_names(dataset)
    if name not in known:
        forms = (*FORMS, *_of_plugin(drawn)) if drawn else ()
        raise unknown(f"subset of data set '{dataset}'", name, [*known, *forms])
    file = f"{dataset}-{name}.json" if drawn is None else f"{dataset}.json"
    try:
        raw = json_of(_text(file)) if drawn is None else drawn["subsets"][name]
        index = tuple(map(int, raw["index"]))
        label, block = (tuple(map(int, raw.get(key, ()))) for key in ("label", "block"))
        rule, split, sha256 = (str(raw[key]) for key in ("rule", "split", "sha256"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BenchError(f"subset file {file} is damaged; reinstall it") from error
    if not len(index) == len(label) == len(block) and drawn is None:
        raise BenchError(f"subset file {file} has columns of unequal length")
    if drawn is not None and sha256 != digest_of_index(index):
        raise BenchError(f"subset file {file}: '{name}' is not what its sha256 says; reinstall it")
    return Subset(dataset, name, split, rule, sha256, index, label, block)


def subset_names(dataset: str) -> tuple[str, ...]:
    """Names of the committed subsets of `dataset`, sorted; empty when it has none."""
    drawn = _drawn(dataset)
    return _committed(dataset) if drawn is None else tuple(sorted(drawn["subsets"]))


def _committed(dataset: str) -> tuple[str, ...]:
    """Names of the subsets of embedded data, each in a file of its own."""
    prefix, suffix = f"{dataset}-", ".json"
    found = (entry.name for entry in (files(__package__) / "subsets").iterdir())
    return tuple(
        sorted(
            name.removeprefix(prefix).removesuffix(suffix)
            for name in found
            if name.startswith(prefix) and name.endswith(suffix)
        )
    )


def in_order(subset: Subset, dataset: Dataset) -> Subset:
    """`subset` with its labels and blocks, in stratified order; reads labels, no pixels.

    Raises:
        BenchError: the data is not there, or the copy lacks some of the images.
    """
    if subset.label:
        return subset
    found = dataset.read(subset.split)
    if max(subset.index) >= len(found):
        raise BenchError(
            f"subset '{subset.name}' of '{subset.dataset}' needs {subset.split} image "
            f"{max(subset.index)}, the copy here has {len(found)}: it is not a whole one"
        )
    rows = list(subset.index)
    label, block = found.y[rows].tolist(), found.block[rows].tolist()
    order = stratified_order(label, block, ORDER_SEED)

    def ordered(column: list[int]) -> tuple[int, ...]:
        return tuple(column[i] for i in order)

    return replace(subset, index=ordered(rows), label=ordered(label), block=ordered(block))


def stratified_order(
    label: Sequence[int], block: Sequence[int], seed: int, most: int = MOST
) -> list[int]:
    """The first positions in an order whose every prefix has each class within one of its share.

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
    for n in range(1, min(len(label), most) + 1):
        # A class that is used up has a deficit of at most 0 and others are ahead of it.
        deficit = {c: total[c] * n / len(label) - taken[c] for c in total if taken[c] < total[c]}
        ties = [c for c, value in deficit.items() if value > max(deficit.values()) - 1e-9]
        chosen = rng.choice(ties)
        order.append(queues[chosen][taken[chosen]])
        taken[chosen] += 1
    return order


def digest_of_index(index: Sequence[int]) -> str:
    """Sha256 of indices as text, with commas between them."""
    return hashlib.sha256(",".join(map(str, index)).encode()).hexdigest()


def _computed(dataset: str, name: str, drawn: Mapping[str, Any]) -> Subset | None:
    """The subset of a name that says which images it holds: `test`, `first-N`, `every-N`."""
    size = int(drawn["test"])
    form = COMPUTED.fullmatch(name)
    index: Sequence[int]
    if name == TEST:
        index, rule = range(size), "all images of the published test set"
    elif form and form[1] == "first":
        if int(form[2]) > size:
            raise BenchError(f"subset '{name}': '{dataset}' has {size:,} test images")
        index, rule = range(int(form[2])), f"the first {form[2]} images of the published test set"
    elif form:
        index = range(0, size, int(form[2]))
        rule = f"images 0, {form[2]} ... of the published test set"
    elif name in _of_plugin(drawn):
        found = api.find_dataset(dataset).factory().read(TEST)
        index = sorted(stratified_order(found.y.tolist(), found.block.tolist(), ORDER_SEED, SOME))
        rule = f"{SOME} test images, each class within one of its share"
    else:
        return None
    chosen = tuple(index)
    return Subset(dataset, name, TEST, rule, digest_of_index(chosen), chosen)


@cache
def _drawn(dataset: str) -> Mapping[str, Any] | None:
    """What is committed for a data set that is fetched; None for an embedded one of ours.

    Of a plug-in nothing is committed: its own number of test images says what can be chosen.
    """
    source = dataset
    if not (files(__package__) / "subsets" / f"{dataset}.json").is_file():
        if _committed(dataset):
            return None
        info = api.find_dataset(dataset).info if dataset in api.names("dataset") else None
        if info is None or not info.images_of:
            return _declared(info)
        source = info.images_of
    try:
        found = json_of(_text(f"{source}.json"))
        if not 0 < int(found["test"]) <= MOST or not isinstance(found["subsets"], dict):
            raise ValueError("test")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BenchError(f"subset file {source}.json is damaged; reinstall it") from error
    return dict(found)


def _declared(info: DatasetInfo | None) -> Mapping[str, Any] | None:
    if info is None or not info.published:
        return None
    return {"test": info.published, "subsets": {}, PLUGIN: True}


def _of_plugin(drawn: Mapping[str, Any]) -> tuple[str, ...]:
    """Subsets that follow from the labels: of a plug-in with more images than they have."""
    return (str(SOME),) if PLUGIN in drawn and drawn["test"] > SOME else ()


def _text(name: str) -> str:
    return (files(__package__) / "subsets" / name).read_text(encoding="utf-8")
