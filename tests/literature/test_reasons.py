"""Why a printed number is only reported: what is said to be lacking here is not here."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bench import api
from bench.errors import BenchError
from bench.literature import sheets
from bench.literature.sheets import Target
from bench.spec import parse_part

ABOUT_US = re.compile(r"not here|package|no name")
"""Words of a reason that speaks of what this project has, and not of the print."""
ABOUT_THE_PRINT = re.compile(
    r"printed|publish|^settings$|^a cost$|no accuracy$|has this clean accuracy$|one image alone$"
)


def reasons() -> list[Target]:
    """What the tables give reasons for, one for each reason."""
    cells = (cell.target for sheet in sheets.sheets() for cell in sheet.numbers())
    found = {(target.only, target.lacks): target for target in cells if target.only}
    return list(found.values())


def here(lacks: str, dataset: str) -> bool:
    """Whether what a reason calls lacking is there by now, however its name is spelled."""
    kind, _, text = lacks.partition(" ")
    part = parse_part(text)
    spelled = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in api.names(kind)}
    name = spelled.get(re.sub(r"[^a-z0-9]", "", part.name.lower()))
    if name is None:
        return False
    found: Any = {
        "defense": api.find_defense,
        "attack": api.find_attack,
        "classifier": api.find_classifier,
    }[kind]
    try:
        found(name).chosen(part, dataset)
    except BenchError:
        return False
    return True


@pytest.mark.parametrize("target", reasons(), ids=lambda target: target.only)
def test_what_is_said_to_be_lacking_is_not_here(target: Target) -> None:
    assert bool(target.lacks) == bool(ABOUT_US.search(target.only))
    if target.lacks:
        assert not here(target.lacks, target.dataset), f"{target.lacks} is here: measure it"
    else:
        assert ABOUT_THE_PRINT.search(target.only)


def test_a_reason_that_became_false_is_seen() -> None:
    assert here("defense adp", "cifar10")
    assert here("defense Pixel-Defend", "cifar10")
    assert here("classifier resnet:depth=62", "cifar10")
    assert not here("classifier resnet:depth=63", "cifar10")
    assert not here("attack nobodys", "cifar10")
