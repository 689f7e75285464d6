"""Printed numbers beside measured ones: what matches, what it says, and what stays blank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.boards.reproduced import Shelf, fill, tidy
from bench.literature import sheets
from bench.literature.sheets import Sheet
from bench.plan.from_papers import targets
from bench.report.paper import document, summary
from bench.report.render import markdown
from tests import factories
from tests.report.render.test_table_command import NO_TORCH, bench

ROOT = Path(__file__).parents[2]


def sheet(**more: Any) -> Sheet:
    """Clean, bpda and their mean of adp on patches, and a row that nothing measures."""
    return sheets._sheet(
        {
            "paper": "adp",
            "table": "99",
            "title": "made up",
            "source": "somebody",
            "dataset": "patches",
            "threat": factories.THREAT,
            "preset": "quick",
            "column": [
                {"head": "Natural", "attack": "clean"},
                {"head": "BPDA", "attack": "bpda"},
                {"head": "Mean", "metric": "average", "over": [1, 2]},
                {"head": "Lowest", "metric": "minimum", "over": [1, 2]},
            ],
            "row": [
                {"head": ["ADP"], "defense": "adp", "cells": ["86.0", "1.0", "50", "60"]},
                {"head": ["Other"], "only": "a competitor", "cells": ["1", "2", "3", "-"]},
            ],
            **more,
        }
    )


def test_measured_numbers_stand_beside_the_printed_ones(tmp_path: Path) -> None:
    filled = fill(sheet(), Shelf(factories.fill(tmp_path)))
    assert summary(filled) == (7, 4, 4)
    natural, robust, mean, lowest = (filled.found[1, c].figure for c in (1, 2, 3, 4))
    assert robust.value < natural.value
    assert mean.value == pytest.approx((natural.value + robust.value) / 2)
    assert lowest == robust
    assert filled.found[1, 2].verdict == "higher"
    lines = tidy(filled)
    assert len(lines) == 7
    assert [line["measured"] != "" for line in lines] == [True] * 4 + [False] * 3
    assert lines[4]["note"] == "reported only: a competitor"


def test_the_least_of_attacks_that_the_print_has_no_columns_of(tmp_path: Path) -> None:
    parts = [{"attack": "clean"}, {"attack": "bpda"}]
    worst = {"head": "Worst", "metric": "minimum-of-means", "parts": parts}
    row = {"head": ["ADP"], "defense": "adp", "cells": ["60", "1.0"]}
    one = sheet(column=[worst, {"head": "BPDA", "attack": "bpda"}], row=[row])
    filled = fill(one, Shelf(factories.fill(tmp_path)))
    assert filled.found[1, 1].figure == filled.found[1, 2].figure
    assert [line["attack"] for line in tidy(filled)] == ["clean; bpda", "bpda"]
    assert [target.attack for target in targets([one])] == ["clean", "bpda"]
    unknown = [*parts, {"attack": "deepfool"}]
    lacking = sheet(column=[worst | {"parts": unknown}], row=[row | {"cells": ["60"]}])
    assert not fill(lacking, Shelf(factories.fill(tmp_path))).found


def test_other_conditions_are_named_and_never_reproduced(tmp_path: Path) -> None:
    store = factories.fill(tmp_path)
    other = fill(sheet(preset="paper"), Shelf(store)).found[1, 1]
    assert other.verdict == "not comparable: budget quick"
    moved = fill(sheet(dataset="cifar10", threat="linf:1/255"), Shelf(store), "patches").found[1, 1]
    assert moved.verdict == "not comparable: data set patches"


def test_no_number_is_compared_within_another_threat(tmp_path: Path) -> None:
    """A table that is laid out on its own data keeps its balls, on other data their norm."""
    shelf = Shelf(factories.fill(tmp_path))
    assert list(fill(sheet(threat="linf:1/255"), shelf, "patches").found) == [(1, 1)]
    assert list(fill(sheet(dataset="cifar10", threat="l2:3"), shelf, "patches").found) == [(1, 1)]


def test_fewer_images_are_compared_and_said(tmp_path: Path) -> None:
    found = fill(sheet(subset="512"), Shelf(factories.fill(tmp_path)))
    assert (found.found[1, 2].n, found.found[1, 2].verdict) == (64, "higher")
    assert tidy(found)[1]["note"] == "64 images where the paper has 512"
    assert "higher (64 images where the paper has 512)" in markdown.render(document([found]))


def test_a_row_on_another_classifier_is_no_measurement(tmp_path: Path) -> None:
    row = {"head": ["ADP"], "defense": "adp@madry", "cells": ["86.0", "1.0", "50", "60"]}
    assert fill(sheet(row=[row]), Shelf(factories.fill(tmp_path))).found == {}


def test_what_others_measured_stands_beside_printed_accuracies_only(tmp_path: Path) -> None:
    shelf = Shelf(factories.fill(tmp_path))
    lines = tidy(fill(sheets.load("adp", "3"), shelf))
    found = {(line["attack"], line["external"]) for line in lines if line["defense"] == "adp"}
    assert ("clean", "86.9±0.44") in found
    assert {external for attack, external in found if attack != "clean"} == {"33.7±0.54"}
    own = [line for line in lines if line["external"] and line["defense"] == "adp"]
    assert all("Croce et al. 2022" in line["note"] for line in own)
    assert not any(line["external"] for line in tidy(fill(sheets.load("adp", "11"), shelf)))
    moved = tidy(fill(sheets.load("adp", "3"), shelf, "patches"))
    assert not any(line["external"] for line in moved)


def test_what_is_incomplete_or_of_another_threat_stays_blank(tmp_path: Path) -> None:
    store = factories.fill(tmp_path / "a")
    assert (1, 2) not in fill(sheet(threat="linf:1/255"), Shelf(store)).found
    assert (1, 1) in fill(sheet(threat="linf:1/255"), Shelf(store)).found  # clean has no ball
    gone = factories.fill(tmp_path / "b", leave_out=["adp@natural/bpda"])
    assert (1, 2) not in fill(sheet(), Shelf(gone)).found
    assert (1, 3) not in fill(sheet(), Shelf(gone)).found


def test_markdown_has_the_prints_layout(tmp_path: Path) -> None:
    note = [{"text": "a slip", "row": 2, "column": 2}]
    text = markdown.render(document([fill(sheet(note=note), Shelf(factories.fill(tmp_path)))]))
    assert "| ADP   | 86.0; measured " in text
    assert "## Table 99: made up" in text
    assert "- [2] a slip" in text


def test_the_command_writes_every_table_offline_and_without_torch(tmp_path: Path) -> None:
    here = ("--results", tmp_path / "none")
    out = tmp_path / "papers.md"  # a folder all the same
    refused = bench("--paper", "all", *here, "--out", out)
    assert refused.returncode == 2
    assert "is a file; all papers need a folder" in refused.stderr
    out.mkdir()
    done = bench("--paper", "all", *here, "--out", out, code=NO_TORCH)
    assert (done.returncode, done.stderr.count("imported")) == (0, 0)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(f"{paper}{end}" for paper in sheets.PAPERS for end in (".md", ".csv"))
    for path in (ROOT / "leaderboards" / "papers").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()
    one = bench("--paper", "scoreopt", "--table", "1", *here, "--json")
    assert {line["table"] for line in json.loads(one.stdout)} == {"1"}
    wrong = bench("--paper", "adp", "--table", "1x", *here)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
