"""Synthetic results with known shares, for pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.boards.board import Board
from bench.boards.gather import boards
from bench.results.store import Planned, Store
from tests.factories import THREATS, cell, measure, plan

IMAGES = 64


def right(share: float) -> np.ndarray:
    """The first images are right, [1,1,N]."""
    return (np.arange(IMAGES) < share * IMAGES)[None, None]


def store(
    root: Path,
    shares: Mapping[tuple[str, str], float],
    *,
    threat: str = "linf:8/255",
    typed: Mapping[str, str] | None = None,
    radius: Mapping[str, Sequence[float]] | None = None,
) -> Store:
    """A plan and its records: (resolved defense, resolved attack) -> share of right images.

    typed: labels of resolved texts; else the texts themselves.
    """
    found, asked = Store(root), []
    for (defense, attack), share in shares.items():
        name = attack.partition(":")[0]
        item = cell(defense, attack, threat=THREATS.get(name, threat))
        item = replace(item, versions="judge=1")
        label = typed or {}
        proven = radius[defense] if radius and name == "certify" else ()
        measure(found, item, right(share), radius=proven)
        asked.append(Planned(item, label.get(defense, defense), label.get(attack, attack)))
    found.write_plan(plan(asked, IMAGES, threat=threat))
    return found


def read(root: Path) -> list[Board]:
    """The boards of such results."""
    return boards(Store(root), "patches")
