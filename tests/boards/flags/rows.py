"""One more row in a store of results, and the flags that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.boards.board import Board
from bench.boards.flags import Flag, flags
from bench.boards.gather import boards
from bench.facts import Facts
from bench.results.store import Store
from tests.factories import THREAT, cell, measure, plan, verdicts

N = 128
RISES = {"first_loss": [0.5] * N, "last_loss": [3.0] * N, "zero_gradients": [0.0] * N}
MASKED = {"clean": 0.9, "classifier-pgd": 0.9, "bpda": 0.8, "square": 0.85}


def flags_of(tmp_path: Path, defense: str, columns: dict[str, Any], **more: Any) -> list[Flag]:
    """Flags of one row; a column is a share, or (share, draws, trace). more: as of `board_of`."""
    (board,) = board_of(tmp_path, defense, columns, **more)
    return flags(board)


def board_of(
    tmp_path: Path,
    defense: str,
    columns: dict[str, Any],
    threat: str = THREAT,
    told: Mapping[str, Facts] | None = None,
    **more: Any,
) -> list[Board]:
    """The boards of a store after one more row was written there.

    told: what attacks say of themselves in place of what the registered ones say. more: of the
    records.
    """
    store, asked = Store(tmp_path), []
    for number, (attack, given) in enumerate(columns.items()):
        share, draws, trace = given if isinstance(given, tuple) else (given, 1, None)
        within = "none" if attack == "clean" else threat
        right = np.arange(N) < share * N
        bits = (
            verdicts([share] * N, draws, seed=number)
            if draws > 1
            else np.asarray(right).reshape(1, 1, N)
        )
        item = measure(
            store,
            cell(defense, attack, threat=within, versions="judge=1"),
            bits,
            trace=trace,
            **more,
        )
        asked.append(item)
    made = plan(asked, images=N, threat=threat)
    store.write_plan(replace(made, attacks={**made.attacks, **(told or {})}))
    return boards(store, "patches")


def alarms(found: list[Flag]) -> set[tuple[str, str]]:
    return {(flag.attack, flag.text.split()[0]) for flag in found if flag.kind == "alarm"}
