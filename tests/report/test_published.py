"""What was published on a data set, laid out by experiment beside what is measured."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

from bench.boards.board import CLEAN
from bench.boards.gather import boards
from bench.boards.spec import BoardSpec, load_spec
from bench.boards.tidy import tidy
from bench.literature import sheets
from bench.literature.claims import Literature, literature
from bench.report.published import document
from bench.report.render import of_boards
from bench.report.tables import Table
from tests.factories import THREAT, claim, fill

BOARDS = Path(__file__).parents[2] / "leaderboards"


def published(found: Literature, root: Path) -> dict[str, list[dict[str, str]]]:
    """Lines of the sections of made-up boards, by heading."""
    made = document(boards(fill(root), "patches"), BoardSpec("a board", (), found), "patches")
    tables = [b for b in made.blocks if isinstance(b, Table) and b.heading.startswith("Published")]
    return {
        table.heading.removeprefix("Published: "): [
            dict(zip(table.header, row, strict=True)) for row in table.rows
        ]
        for table in tables
    }


def test_the_board_of_cifar10_holds_all_that_was_published() -> None:
    """And what others measured of a defense beside more of its rows, where those are measured."""

    def printed(text: str) -> dict[tuple[str, ...], str]:
        names = ("defense", "attack", "threat", "reported", "external")
        rows = csv.DictReader(StringIO(text))
        told = (r for r in rows if r["reported"] or r["external"])
        return {tuple(r[name] for name in names): r["measured"] for r in told}

    without_results = printed(of_boards([], load_spec("cifar10"), "cifar10").text(".csv"))
    board = printed((BOARDS / "cifar10.csv").read_text("utf-8"))
    assert len(without_results) > 300
    assert without_results.keys() <= board.keys()
    assert all(board[row] for row in board.keys() - without_results.keys())


def test_nothing_measured_is_invented() -> None:
    made = document([], load_spec("cifar10"), "cifar10")
    tables = [b for b in made.blocks if isinstance(b, Table) and "measured" in b.header]
    assert len(tables) >= 4
    for table in tables:
        places = [table.header.index(name) for name in ("measured", "verdict")]
        assert not any(row[place] for row in table.rows for place in places)
    assert not any(row["measured"] or row["verdict"] for row in tidy([], load_spec("cifar10"), ""))


def test_every_number_that_decides_an_attack_stands_there_with_its_table() -> None:
    made = document([], load_spec("cifar10"), "cifar10")
    text = [
        row[table.header.index("reported")]
        for table in made.blocks
        if isinstance(table, Table) and "reported" in table.header
        for row in table.rows
    ]
    shown = sorted(
        (float(value.partition("±")[0]), paper, table)
        for cell in text
        for part in filter(None, cell.split("; "))
        for value, places in re.findall(r"^(\S+) \((.*)\)$", part)
        for paper, tables in re.findall(r"([\w-]+) Tables? ([\w*, ]+?)(?= and |$)", places)
        for table in tables.split(", ")
    )
    given = sorted(
        {
            (where, c.low, sheets.TITLES[c.paper], c.table + "*" * c.borrowed)
            for where, there in literature("cifar10").claims.items()
            for c in there
            if c.table and c.metric in ("accuracy", "protocol", "mean-over-corruptions")
        }
    )
    assert shown == sorted(line[1:] for line in given)


def test_a_measurement_stands_beside_every_printed_value(tmp_path: Path) -> None:
    where = ("adp@natural", "bpda", THREAT)
    printed = (claim("5.0"), claim("99.0", table="7"), claim("1.5", table="", n=1000))
    sections = published(
        Literature({where: printed, ("aid@madry", "bpda", THREAT): printed}), tmp_path
    )
    line, blank = sections[f"within {THREAT}"]
    assert line["reported"] == "5.0 (ADP Table 3); 99.0 (ADP Table 7)"
    assert line["external"] == "1.5 [1]"
    assert line["verdict"] == "5.0: higher; 99.0: lower (64 images where the paper has 512)"
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", line["measured"])
    assert (blank["measured"], blank["verdict"]) == ("", "")


def test_a_protocols_printed_value_is_held_against_its_own_verdict(tmp_path: Path) -> None:
    where = ("adp@natural", "bpda", THREAT)
    sections = published(Literature({where: (claim("5.0", metric="protocol"),)}), tmp_path)
    (line,) = sections[f"within {THREAT}"]
    assert line["measured"] == ""  # its records have no verdict of a protocol


def test_a_threat_of_one_attack_names_it(tmp_path: Path) -> None:
    where = ("adp@natural", "bpda", THREAT)
    ball, clean = (where[0], "cw", "l2:3"), (where[0], "clean", CLEAN)
    found = Literature({each: (claim("5.0"),) for each in (where, ball, clean)})
    sections = published(found, tmp_path)
    assert [line["attack"] for line in sections[f"within {THREAT}"]] == ["bpda"]
    assert [line["attack"] for line in sections["within l2:3"]] == ["cw"]
    assert "attack" not in sections["clean images"][0]


def test_boards_without_publications_stay_as_they_are(tmp_path: Path) -> None:
    assert published(literature("patches"), tmp_path) == {}
