"""The rule that chooses settings, and that every candidate is one that the grammar knows."""

from __future__ import annotations

from pathlib import Path

import pytest

import leaderboards
from bench.api import find_defense
from bench.data.subsets import load_subset
from bench.spec import Part, parse_defense
from bench.training.candidates import FILTERS, PURIFIERS
from bench.training.choose import Candidate, choose

CANDIDATES = {name: {**FILTERS[name], **PURIFIERS[name]} for name in FILTERS}
LIST = [(data, spec) for data, groups in CANDIDATES.items() for s in groups.values() for spec in s]


def row(spec: str, clean: float, *robust: float) -> Candidate:
    return Candidate(spec, clean, dict(zip(("blind", "bpda", "exact"), robust, strict=False)))


def test_the_largest_mean_above_the_floor_wins() -> None:
    rows = [row("a", 95, 10, 10, 10), row("b", 84, 40, 30, 20), row("c", 82, 90, 90, 90)]
    assert choose(rows).spec == "b"


def test_a_tie_goes_to_the_first_and_missing_attacks_do_not_count() -> None:
    assert choose([row("a", 90, 30, 30), row("b", 91, 30, 30)]).spec == "a"
    assert row("a", 90, 30, 10).mean == 20


@pytest.mark.parametrize(("dataset", "spec"), LIST)
def test_candidates_resolve(dataset: str, spec: str) -> None:
    (part,) = parse_defense(spec).parts
    resolved = find_defense(part.name).resolve(part, dataset)
    assert dict(part.settings).keys() <= dict(resolved.settings).keys()


@pytest.mark.parametrize("dataset", CANDIDATES)
def test_the_tables_of_the_defenses_hold_what_was_chosen(dataset: str) -> None:
    printed = (Path(leaderboards.__file__).parent / f"choices-{dataset}.txt").read_text()
    chosen = [line.removeprefix("chosen: ") for line in printed.splitlines() if "chosen: " in line]
    assert len(chosen) == len(CANDIDATES[dataset])
    for text in chosen:
        (part,) = parse_defense(text).parts
        plugin = find_defense(part.name)
        assert plugin.resolve(part, dataset) == plugin.resolve(Part(part.name), dataset)


@pytest.mark.parametrize("dataset", CANDIDATES)
def test_the_images_are_not_the_test_images(dataset: str) -> None:
    assert load_subset(dataset, "validation").split == "validation"
