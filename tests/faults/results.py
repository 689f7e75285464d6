"""Readers of records, plans, archives and tables, with whole files for each."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from unittest import mock

from bench.literature import sheets
from bench.results.archive import Archive
from bench.results.record import FORMAT, Record
from bench.results.request import Plan
from tests.faults.fuzz import Reader

BOARD = files("leaderboards") / "records" / "digits.jsonl.xz"
PLAN = '{"plan":'


def _lines() -> list[str]:
    return lzma.decompress(BOARD.read_bytes()).decode().splitlines()[1:]


def _records(folder: Path) -> list[bytes]:
    return [line.encode() for line in _lines() if not line.startswith(PLAN)][::97]


def _plans(folder: Path) -> list[bytes]:
    return [line[len(PLAN) : -1].encode() for line in _lines() if line.startswith(PLAN)]


def _archive(folder: Path) -> list[bytes]:
    plan, record = PLAN.encode() + _plans(folder)[0] + b"}", _records(folder)[0]
    header = json.dumps({"format": FORMAT, "dataset": "digits", "lines": 3}).encode()
    return [lzma.compress(b"\n".join((header, plan, record)), preset=0)]


def _table(folder: Path) -> list[bytes]:
    found = sorted((files("leaderboards") / "tables").iterdir(), key=lambda path: path.name)
    return [path.read_bytes() for path in found if b"[[column]]" in path.read_bytes()][:3]


def _read_table(path: Path) -> object:
    place = path.parent / "tables" / path.name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(path.read_bytes())
    with mock.patch("bench.literature.sheets.files", return_value=path.parent):
        return sheets._toml(path.stem)


RESULTS: Mapping[str, Reader] = {
    "record": Reader(
        "results", "000.json", _records, lambda path: Record.from_json(_text(path), str(path))
    ),
    "plan": Reader("results", "plan.json", _plans, lambda p: Plan.from_json(_text(p), str(p))),
    "archive": Reader(
        "results",
        "board.jsonl.xz",
        _archive,
        Archive,
        (lzma.decompress, lambda content: lzma.compress(content, preset=0)),
    ),
    "table": Reader("results", "adp1.toml", _table, _read_table),
}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
