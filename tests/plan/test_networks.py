"""Which networks a run on fetched data takes: the papers' or the compact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import api
from bench.cli.plan import plan_command
from bench.cli.run import run_command
from bench.errors import BenchError
from bench.models.zoo.entries import how_to_get
from bench.plan import networks
from bench.plan.networks import chosen, needed
from bench.plan.request import Request, find_info

ADP = Request(["adp"], ["clean"], "cifar10", images=32, controls=[])
PAPERS = {("cifar10", "score-ncsnv2"), ("cifar10", "natural")}
COMPACT = {("cifar10-compact", "score"), ("cifar10-compact", "natural")}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which weights there are: pairs of data set and name."""

    def are(*there: tuple[str, str]) -> None:
        monkeypatch.setattr(networks, "here", lambda dataset, name: (dataset, name) in there)

    return are


def test_the_weights_that_a_request_needs() -> None:
    assert needed(ADP) == {"score-ncsnv2", "natural"}
    assert needed(replace(ADP, dataset="cifar10-compact")) == {"score", "natural"}
    assert needed(replace(ADP, defenses=["aid@madry", "none"])) == {"aid-madry", "madry", "natural"}
    assert needed(replace(ADP, defenses=["jpeg@file:x.pt"])) == set()


def test_without_the_papers_networks_the_compact_ones_are_taken_and_named(
    files: Callable[..., None],
) -> None:
    files(*COMPACT)
    moved, line = chosen(ADP)
    assert moved == replace(ADP, dataset="cifar10-compact")
    assert "papers' networks for cifar10" in line
    assert "data set cifar10-compact" in line


@pytest.mark.parametrize("there", [PAPERS, PAPERS | COMPACT, {("cifar10", "natural")} | COMPACT])
def test_whoever_has_any_of_the_papers_networks_stays_with_them(
    there: set[tuple[str, str]], files: Callable[..., None]
) -> None:
    files(*there)
    assert chosen(ADP) == (ADP, "")


@pytest.mark.parametrize(
    "asked",
    [
        replace(ADP, defenses=["adp:network=ncsnv2"]),
        replace(ADP, defenses=["adp", "pixeldefend"]),
        replace(ADP, weights=["natural=mine.safetensors"]),
        replace(ADP, defenses=["jpeg@file:x.pt"]),
        replace(ADP, dataset="cifar10-compact"),
        replace(ADP, dataset="digits"),
        replace(ADP, dataset="svhn"),
    ],
)
def test_what_the_compact_networks_are_not_is_asked_of_the_papers(
    asked: Request, files: Callable[..., None]
) -> None:
    files(*COMPACT)
    assert chosen(asked) == (asked, "")


def test_a_wrong_name_is_said_before_anything_is_chosen(files: Callable[..., None]) -> None:
    files()
    with pytest.raises(BenchError, match="unknown"):
        chosen(replace(ADP, defenses=["adpp"]))


def test_an_error_names_both_ways() -> None:
    says = how_to_get("cifar10", "natural")
    assert "bench fetch weights/adp-wrn-cifar10" in says
    assert says.endswith("or take compact networks: --dataset cifar10-compact")
    for other in ("cifar10-compact", "cifar100"):
        assert "compact networks" not in how_to_get(other, "natural")


def test_the_images_are_those_of_cifar10() -> None:
    assert api.compact("cifar10") == "cifar10-compact"
    assert api.compact("cifar10-compact") == api.compact("patches") == ""
    papers, ours = find_info("cifar10"), find_info("cifar10-compact")
    assert replace(ours, name=papers.name, title=papers.title, images_of="") == papers
    assert (ours.source, papers.source) == ("cifar10", "cifar10")


def test_plan_prices_what_was_asked_and_says_what_run_would_take(
    files: Callable[..., None],
) -> None:
    files(*COMPACT)
    words = [
        "--defense",
        "adp",
        "--attacks",
        "clean",
        "--dataset",
        "cifar10",
        "--images",
        "32",
        "--control",
        "off",
    ]
    planned = CliRunner().invoke(plan_command, words, catch_exceptions=False)
    assert "cifar10 linf:8/255" in planned.stdout
    assert "no weights for this are here: bench run takes cifar10-compact instead" in planned.stdout


def test_a_papers_tables_are_never_filled_by_other_networks(
    files: Callable[..., None], tmp_path: Path
) -> None:
    files(*COMPACT)
    words = ["--paper", "adp", "--table", "2", "--results", str(tmp_path)]
    found = CliRunner().invoke(run_command, words)
    assert isinstance(found.exception, BenchError)
    assert str(found.exception).startswith("no weights 'natural' for data set 'cifar10' in")
