"""`bench.load`: boards and records as data frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.python.frames import NUMBERS

BOARDS = Path(__file__).parents[2] / "leaderboards"


def test_a_board_and_its_records_say_the_same() -> None:
    board = bench.load(BOARDS / "digits.csv")
    records = bench.load(BOARDS / "records" / "digits.jsonl.xz")
    assert list(board.columns) == list(records.columns)
    assert board.equals(records)
    assert all(board[name].dtype == float for name in NUMBERS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "does not exist"),
        ("cifar10.md", "no board's .csv"),
        ("empty", "no results"),
        ("other.csv", "it lacks"),
        ("bytes.csv", "cannot be read"),
        ("folder.csv", "cannot be read"),
    ],
)
def test_what_holds_no_numbers_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cifar10.md").write_text("# board")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(bench.BenchError, match=said):
        bench.load(tmp_path / name)
