"""Published figures by experiment: each is that of its table, and found as a board writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api.ball import ThreatModel
from bench.data.subsets import load_subset
from bench.literature import sheets
from bench.literature.claims import beside, key, literature, spelled

BALL = "linf:8/255"
HILL = "bpda-eot:protocol=hill"


def test_every_printed_number_that_a_run_measures_is_a_claim_of_its_experiment() -> None:
    given = sorted(
        (t.dataset, *key(t.defense, t.attack, t.threat), t.metric, cell.printed, sheet.table)
        for sheet in sheets.sheets()
        for cell in sheet.numbers()
        if (t := cell.target).runs == (t,)
    )
    datasets = {line[0] for line in given}
    found = sorted(
        (dataset, *where, claim.metric, claim.text, claim.table)
        for dataset in datasets
        for where, there in literature(dataset).claims.items()
        for claim in there
        if claim.table
    )
    assert [line[:5] for line in found] == [line[:5] for line in given]
    assert [line[5].rstrip("*") for line in found] == [line[5].rstrip("*") for line in given]
    assert len(given) > 800


def test_two_printed_values_of_one_experiment_are_two_claims() -> None:
    there = literature("cifar10").claims[key("adp", "bpda-eot:protocol=adp", BALL)]
    own, borrowed = there[0], next(claim for claim in there if claim.borrowed)
    assert (own.text, own.by, own.table) == ("70.01", "Yoon et al. 2021", "3")
    assert (borrowed.text, borrowed.paper, borrowed.table) == ("70.01*", "scoreopt", "1")
    seen = literature("cifar10").claims[key("adp", "classifier-pgd", BALL)]
    assert [(claim.text, claim.table) for claim in seen] == [("80.24", "2"), ("83.93", "7")]


def test_a_claim_says_what_it_is() -> None:
    (claim,) = literature("cifar10").claims[key("scoreopt-n", HILL, BALL)]
    assert (claim.value, claim.std, claim.metric, claim.n) == ("90.59", "0.08", "protocol", 512)
    assert (claim.paper, claim.table) == ("scoreopt", "1")
    (other,) = literature("cifar10").claims[
        key("adp@robustbench/Standard", "apgd:gradient=exact,loss=margin,steps=10,eot=200", BALL)
    ]
    assert (other.table, other.text, other.n) == ("", "33.7±0.54", 1000)
    assert other.subset == "first-1000"


def test_what_others_measured_stands_beside_the_defense_lowest_first() -> None:
    assert [claim.text for claim in beside("cifar10", "aid@madry", BALL)] == [
        "43.5\N{EN DASH}43.6",
        "43.8",
        "55.9\N{EN DASH}56.0",
    ]
    assert [claim.text for claim in beside("cifar10", "adp@natural", "none")] == ["86.9±0.44"]
    assert beside("cifar10", "adp@natural", "linf:4/255") == ()
    assert beside("cifar10", "aid@natural", BALL) == ()


def test_nothing_was_published_on_embedded_data() -> None:
    assert not literature("patches").claims
    assert not literature("digits").claims


@pytest.mark.parametrize("attack", ["clean", "corruption:kinds=fog"])
def test_what_has_no_ball_is_found_in_any(attack: str) -> None:
    assert key("adp", attack, "l2:0.5") == key("adp@natural", attack, "")


@given(st.sampled_from(["linf", "l2"]), st.integers(1, 255), st.booleans())
def test_threats_are_spelled_as_runs_spell_them(norm: str, levels: int, fraction: bool) -> None:
    text = f"{norm}:{levels}/255" if fraction else f"{norm}:{levels / 255!r}"
    assert spelled(text) == str(ThreatModel.parse(text))


def test_sizes_are_those_of_the_subsets() -> None:
    named = {
        (cell.target.dataset, cell.target.subset)
        for sheet in sheets.sheets()
        for cell in sheet.numbers()
        if cell.target.measurable and cell.target.subset
    } | {(figure.dataset, figure.subset) for figure in sheets.externals() if figure.subset}
    for dataset, subset in named:
        assert sheets.images(dataset, subset) == len(load_subset(dataset, subset))
    assert all(sheets.images(f.dataset, f.subset) == f.n for f in sheets.externals())


def test_what_is_not_known_of_a_figure_of_others_stays_unsaid() -> None:
    lowest = beside("cifar10", "diffpure:network=score-sde@robustbench/Standard", BALL)[0]
    assert (lowest.text, lowest.conditions) == ("30.86", "Liu et al.")
    (ebm,) = beside("cifar10", "langevin@natural", BALL)
    assert ebm.conditions.startswith("Du, Hill & Cai 2026, an attack along the gradient")
    assert "images" not in ebm.conditions
