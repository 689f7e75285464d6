"""The images of one shard of a cell, and all that attacks them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from bench.api import Context
from bench.api.attacked import Attack, Given, Indexed
from bench.api.purifier import Defense
from bench.data.subsets import Subset, in_order, load_subset
from bench.files.paths import data_root
from bench.measure import build
from bench.results.store import SHARD, Cell


@dataclass(frozen=True)
class Shard:
    """The images of a shard [B,C,H,W] in [0,1] and their labels [B], on the device."""

    x: torch.Tensor
    y: torch.Tensor
    split: str
    index: tuple[int, ...]
    label: tuple[int, ...]
    block: tuple[int, ...]


def images_of(cell: Cell, shard: int, context: Context) -> Shard:
    """The images of one shard of a cell."""
    subset = subset_here(cell.dataset, cell.subset)
    rows = slice(shard * SHARD, (shard + 1) * SHARD)
    index = subset.index[rows]
    images = build.dataset(cell.dataset).take(subset.split, index)
    x, y = images.x.to(context.device), images.y.to(context.device)
    return Shard(x, y, subset.split, index, subset.label[rows], subset.block[rows])


def subset_here(dataset: str, name: str) -> Subset:
    """The subset in its order, which for fetched data follows from the labels that lie here.

    Raises:
        BenchError: the data is not here, or not whole.
    """
    return _subset(dataset, name, str(data_root()))


@cache
def _subset(dataset: str, name: str, root: str) -> Subset:
    return in_order(load_subset(dataset, name), build.dataset(dataset))


@dataclass(frozen=True, eq=False)
class ShardWork:
    """A shard of a cell, ready to be attacked. key: what every stream is seeded from."""

    defense: Defense
    attack: Attack
    shard: Shard
    key: str


def begun(cell: Cell, number: int, context: Context) -> ShardWork:
    """The warm defense, the attack on its images and the key of shard `number` of a cell."""
    defense = build.defense(cell.defense, context)
    attack = build.attack(cell.attack, context)
    shard = images_of(cell, number, context)
    if isinstance(attack, Indexed):
        attack = attack.at(shard.split, shard.index)
    # Points that somebody made beforehand must not know what they will be judged by.
    drawn_for = f"/{attack.sha256}" if isinstance(attack, Given) else ""
    return ShardWork(defense, attack, shard, f"{cell.digest}/{number}{drawn_for}")
