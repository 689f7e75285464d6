"""The papers' tables as data: both transcriptions agree, every target can be planned."""

from __future__ import annotations

import pytest

from bench import api
from bench.errors import BenchError
from bench.literature import sheets
from bench.literature.sheets import Sheet
from bench.plan import plan
from bench.plan.request import Request
from tests.literature.transcriptions import compared, differences


def test_two_transcriptions_agree() -> None:
    assert list(differences()) == []
    tables, cells = compared()
    assert tables == len(sheets.names())
    assert cells > 1500


@pytest.mark.parametrize("name", sheets.names())
def test_every_target_can_be_planned(name: str) -> None:
    api.load(())
    paper, _, table = name.partition("-")
    sheet = sheets.load(paper, table.lstrip("0"))
    asked = {
        (run.dataset, run.threat, run.preset, run.subset, run.defense, run.attack)
        for cell in sheet.numbers()
        for run in cell.target.runs
    }
    for dataset, threat, preset, subset, defense, attack in sorted(asked):
        request = Request(
            [defense],
            (attack,),
            dataset,
            threat=threat,
            subset=subset,
            preset=preset or "paper",
            controls=[],
        )
        made, _ = plan.make(request)
        assert any(planned.defense.startswith(defense.partition("@")[0]) for planned in made.cells)


def test_numbers_are_read_as_printed() -> None:
    sheet = sheets._sheet(
        {
            "paper": "adp",
            "table": "99",
            "title": "t",
            "source": "s",
            "dataset": "cifar10",
            "threat": "linf:8/255",
            "column": [
                {"head": "Natural", "attack": "clean"},
                {"head": "Robust", "attack": "bpda"},
            ],
            "row": [
                {"head": ["a"], "defense": "adp", "cells": ["86.14±0.51", "70.01*"]},
                {"head": ["b"], "only": "a competitor", "cells": ["-", "1,024"]},
            ],
            "cell": [{"row": 1, "column": 2, "attack": "bpda-eot", "note": "n"}],
        }
    )
    first, second, dash, large = sheet.cells
    assert (first.value, first.std, first.borrowed) == (86.14, 0.51, False)
    assert (second.value, second.std, second.borrowed) == (70.01, None, True)
    assert (first.target.attack, second.target.attack, second.note) == ("clean", "bpda-eot", "n")
    assert (dash.value, dash.target.measurable) == (None, False)
    assert (large.value, large.target.only) == (1024.0, "a competitor")
    assert [cell.printed for cell in sheet.line(2)] == ["-", "1,024"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"row": [{"head": ["a"], "defense": "adp", "cells": ["1", "2"]}]}, "row 1 has 2 cells"),
        ({"row": [{"head": ["a"], "cells": ["1"]}]}, "neither what measures it nor why"),
        ({"cell": [{"row": 2, "column": 1}]}, "no cell"),
    ],
)
def test_damaged_tables_say_what_is_wrong(change: dict[str, object], said: str) -> None:
    good = {
        "paper": "adp",
        "table": "99",
        "title": "t",
        "source": "s",
        "column": [{"head": "Natural", "attack": "clean"}],
        "row": [{"head": ["a"], "defense": "adp", "cells": ["1"]}],
    }
    assert isinstance(sheets._sheet(good), Sheet)
    with pytest.raises(ValueError, match=said):
        sheets._sheet(good | change)


def test_unknown_names_have_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'scoreopt'"):
        sheets.load("scoreop", "1")
    with pytest.raises(BenchError, match="table of paper 'adp'"):
        sheets.load("adp", "77")
    with pytest.raises(BenchError, match=r"^table 3 of paper 'scoreopt' is in parts: 3a, 3b$"):
        sheets.load("scoreopt", "3")
