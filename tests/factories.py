"""Synthetic plans and records: any verdicts, no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import api
from bench.boards.board import Board, Row
from bench.boards.gather import boards
from bench.boards.metrics import Measured, assemble
from bench.errors import BenchError
from bench.facts import Facts
from bench.literature.claims import Claim
from bench.results.seal import CHECKSUM, sealed
from bench.results.store import SHARD, Cell, Plan, Planned, Record, Skip, Store
from bench.spec import parse_part

THREAT = "linf:8/255"
BORDER = 0.0313725
THREATS = {"clean": "none", "corruption": "corruption", "certify": "certified"}


def cell(defense: str = "adp@natural", attack: str = "bpda", seed: int = 0, **more: str) -> Cell:
    """A cell whose resolved texts are its labels."""
    given: dict[str, Any] = {
        "dataset": "patches",
        "subset": "512",
        "defense": defense,
        "attack": attack,
        "threat": THREATS.get(attack, THREAT),
        "seed": seed,
        "versions": f"judge=1,{defense.partition('@')[0].partition(':')[0]}=1,{attack}=1",
    }
    return Cell(**{**given, **more})


def claim(value: str, **more: Any) -> Claim:
    """A published value of 512 images, preset `quick`."""
    given = Claim(value, "", "accuracy", "Somebody 2021", "adp", 512, "512", "quick", "3")
    return replace(given, **more)


def verdicts(
    shares: Sequence[float] | NDArray[np.float64], draws: int = 1, variants: int = 1, seed: int = 0
) -> NDArray[np.bool_]:
    """Random verdicts bool [V,M,N]: image i is right with probability shares[i]."""
    random = np.random.default_rng(seed)
    return random.random((variants, draws, len(shares))) < np.asarray(shares)


def records(
    item: Cell,
    bits: NDArray[np.bool_],
    *,
    variants: tuple[str, ...] = (),
    weights: Mapping[str, str] | None = None,
    block: Sequence[int] | None = None,
    trace: Mapping[str, Sequence[float]] | None = None,
    protocol: NDArray[np.bool_] | None = None,
    calls: int = 10,
    radius: Sequence[float] = (),
    distance: Sequence[float] | None = None,
) -> list[Record]:
    """The shards of a cell with these verdicts, [V,M,N]; points at the border of THREAT."""
    made = []
    count = bits.shape[2]
    groups = list(range(count)) if block is None else list(block)
    far = [BORDER] * count if distance is None else list(distance)
    for start in range(0, count, SHARD):
        part = range(start, min(start + SHARD, count))
        rows = bits[:, :, part.start : part.stop].reshape(-1, len(part))
        judged = len(rows) * len(part)
        made.append(
            Record(
                cell=item,
                shard=start // SHARD,
                asked={"defense": item.defense, "attack": item.attack, "preset": "quick"},
                resolved={},
                software={"purifybench": "0.1.0", "torch": "2.9.0"},
                weights={"natural": "a" * 64} if weights is None else dict(weights),
                index=tuple(part),
                label=tuple(i % 8 for i in part),
                block=tuple(groups[i] for i in part),
                variants=variants,
                draws=bits.shape[1],
                correct=tuple(_text(row) for row in rows),
                protocol="" if protocol is None else _text(protocol[part.start : part.stop]),
                distance=tuple(far[part.start : part.stop]),
                queries=(),
                calls={"classifier": {"attack": (calls * 32, calls * 32), "judge": (judged, 0)}},
                trace={k: tuple(v[part.start : part.stop]) for k, v in (trace or {}).items()},
                timing={"seconds": 1.235, "device": "cpu", "wall_seconds": 9.0},
                certificate=_proven(radius[part.start : part.stop]),
            )
        )
    return made


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a stored record or plan as a program that keeps checksums would."""
    data = json.loads(path.read_text())
    del data[CHECKSUM]
    change(data)
    path.write_text(json.dumps(sealed(data)))


def repeatable(text: str | bytes) -> dict[str, Any]:
    """What of a stored record two runs have in common."""
    return {**json.loads(text), "timing": {}, CHECKSUM: ""}


def measured(bits: NDArray[np.bool_], item: Cell | None = None, **more: Any) -> Measured:
    """Verdicts [V,M,N] as a complete measurement."""
    made = records(item or cell(), bits, **more)
    found = assemble(made[0].cell, bits.shape[2], made)
    assert isinstance(found, Measured)
    return found


def facts_of(attack: str) -> Facts:
    """What a registered attack says of itself at the settings in its name; nothing of others."""
    try:
        part = parse_part(attack)
        plugin = api.find_attack(part.name)
    except BenchError:
        return Facts()
    return plugin.facts({**plugin.defaults, **dict(part.settings)})


def plan(
    cells: Sequence[Planned], images: int = 64, skips: Sequence[Skip] = (), **more: Any
) -> Plan:
    """A plan of these cells, whose attacks say what the registered ones of their names say."""
    given: dict[str, Any] = {
        "attacks": {item.cell.attack: facts_of(item.cell.attack) for item in cells},
        "dataset": "patches",
        "subset": "512",
        "threat": THREAT,
        "preset": "quick",
        "command": "bench run --defense adp --attacks all --preset quick",
    }
    return Plan(images=images, cells=tuple(cells), skips=tuple(skips), **{**given, **more})


def planned(item: Cell, control: bool = False) -> Planned:
    """A cell under its own labels."""
    return Planned(cell=item, defense=item.defense, attack=item.attack, control=control)


def measure(
    store: Store, item: Cell, bits: NDArray[np.bool_], *, control: bool = False, **more: Any
) -> Planned:
    """Write the records of a cell with these verdicts [V,M,N]; more: of the records."""
    asked = planned(item, control)
    for record in records(item, bits, **more):
        store.write(asked, record)
    return asked


def change_records(store: Store, item: Planned, shards: int = 2, **change: Any) -> None:
    """Change the first records of a cell."""
    for shard in range(shards):
        record = store.read(item, shard)
        assert record is not None
        store.write(item, replace(record, **change))


def one_board(store: Store) -> Board:
    """The only board of a store."""
    (board,) = boards(store, "patches")
    return board


def row_of(board: Board, label: str) -> Row:
    """The row of a label."""
    (row,) = (row for row in board.rows if row.label == label)
    return row


ROBUST = {
    "adp@natural": {"clean": 0.9, "bpda": 0.6, "square": 0.7, "corruption": 0.8},
    "none@natural": {"clean": 0.95, "bpda": 0.0, "square": 0.02, "corruption": 0.7},
    "wiener@natural": {"clean": 0.8, "bpda": 0.2, "square": 0.3, "corruption": 0.6},
    "jpeg@natural": {"clean": 0.85, "bpda": 0.5, "square": 0.1, "corruption": 0.65},
}
CONTROLS = ("wiener@natural", "jpeg@natural")
KINDS = ("fog/1", "fog/3", "snow/1", "snow/3")


def fill(root: Path, images: int = 64, seeds: int = 1, leave_out: Sequence[str] = ()) -> Store:
    """A store with a whole synthetic board; files in `leave_out` (slices of paths) are removed.

    adp is random with four draws, the rest has one; patches share blocks in pairs.
    """
    store = Store(root)
    asked: list[Planned] = []
    for row, (defense, columns) in enumerate(ROBUST.items()):
        for column, (attack, share) in enumerate(columns.items()):
            if (defense, attack) == ("none@natural", "square"):
                continue
            for seed in range(seeds):
                corrupted = attack == "corruption"
                random = np.random.default_rng([row, column, seed])
                bits = verdicts(
                    np.where(random.random(images) < share, 0.95, 0.05),
                    draws=4 if defense.startswith("adp") and not corrupted else 1,
                    variants=len(KINDS) if corrupted else 1,
                    seed=row * 100 + column * 10 + seed,
                )
                blocks = [i // 2 for i in range(images)]
                asked.append(
                    measure(
                        store,
                        cell(defense, attack, seed),
                        bits,
                        control=defense in CONTROLS,
                        variants=KINDS if corrupted else (),
                        block=blocks,
                    )
                )
    skips = [Skip("none@natural", "square", "made up for the test")]
    store.write_plan(plan(asked, images, skips))
    for path in root.rglob("*.json"):
        if any(part in str(path) for part in leave_out):
            path.unlink()
    return store


def _proven(radius: Sequence[float]) -> dict[str, tuple[float, ...]]:
    if not radius:
        return {}
    return {"label": (0,) * len(radius), "copies": (90,) * len(radius), "radius": tuple(radius)}


def _text(bits: NDArray[np.bool_]) -> str:
    return "".join("1" if bit else "0" for bit in bits)
