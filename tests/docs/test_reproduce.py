"""docs/reproduce.md, cost.md and attacks.md: every command is one, and every figure follows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from bench import api
from bench.cli.group import COMMANDS, cli
from bench.cli.options import requests
from bench.literature.sheets import TITLES
from bench.plan import plan
from bench.plan.request import Request
from bench.results.store import Plan

DOCS = Path(__file__).parents[2] / "docs"
MARK = "<!-- made and checked by tests/docs/test_reproduce.py -->\n"
HEAD = "| command | images | forwards | backwards | CPU hours |\n|--|--|--|--|--|\n"
SHARED = (
    *("defenses", "attacks", "dataset", "threats", "subset", "images", "seeds", "preset"),
    *("controls", "paper", "number", "draws"),
)
# Per call where docs/cost.md gives no row of its table: PixelCNN++, the energy and DISCO.
BESIDE = {"pixelcnn-decode": (0.96, 0.0), "energy": (0.002, 0.002), "purifier": (0.04, 0.044)}


def commands(name: str) -> Iterator[str]:
    for block in re.findall(r"```\n(.*?)```", (DOCS / name).read_text(), re.S):
        yield from (line for line in block.splitlines() if line)


ALL = [*commands("reproduce.md"), *commands("cost.md"), *commands("attacks.md")]
RUNS = [line for line in commands("reproduce.md") if line.startswith("bench run ")]


def parsed(line: str) -> tuple[str, click.Context]:
    """The command of a line with its options, refused like the command line itself does."""
    program, name, *rest = shlex.split(line)
    assert program == "bench"
    given = [__file__ if "." in word and word.endswith((".pt", ".pth")) else word for word in rest]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return name, command.make_context(name, given)


@cache
def planned(line: str) -> list[tuple[Plan, plan.Draft]]:
    """A plan for each ball that is named, or for each part of a printed table."""
    _, context = parsed(line)
    with context:
        asked = requests(**{key: context.params[key] for key in SHARED})
    return [plan.make(each) for each in asked]


@pytest.mark.parametrize("line", ALL)
def test_every_command_is_understood(line: str) -> None:
    name, context = parsed(line)
    assert name in COMMANDS
    if name in ("run", "plan"):
        assert all(made.cells for made, _ in planned(line))
    elif name == "fetch":
        from bench.data.sources import SOURCES
        from bench.models.zoo.published import entries

        known = {f"weights/{entry.name}" for entry in entries()}
        assert set(context.params["names"]) <= known | set(SOURCES) | {"cifar10-c"}
    elif name == "train":
        from bench.training.needs import needed

        assert needed(context.params["specs"], context.params["dataset"])
    elif name == "profile":
        for spec in context.params["defenses"]:
            plan.make(Request([spec], ("clean",), context.params["dataset"]))


def speeds() -> dict[str, tuple[float, float]]:
    """Seconds of a forward pass, and of a backward pass on top, by network (docs/cost.md)."""
    found: dict[str, tuple[float, float]] = dict(BESIDE)
    for line in (DOCS / "cost.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and (name := re.fullmatch(r"`([a-z-]+)`", cells[1])):
            there, around = float(cells[2]), float(cells[3])
            found[name[1]] = (there, around - there)
    return found


def table() -> str:
    """What every run of the page costs."""
    seconds = speeds()
    rows = []
    for line in RUNS:
        cells = {
            item.cell.digest: (made.images, cost)
            for made, draft in planned(line)
            for item, cost in zip(made.cells, draft.costs, strict=True)
        }
        forwards = backwards = spent = 0.0
        for number, cost in cells.values():
            for name, (forward, backward) in cost.networks.items():
                there, back = seconds[_same(name)]
                forwards += forward * number / 1e6
                backwards += backward * number / 1e6
                spent += (forward * there + backward * back) * number / 3600
        sizes = " and ".join(
            f"{size:,}" for size in sorted({made.images for made, _ in planned(line)})
        )
        words = [f"{float(f'{figure:.3g}'):,.10g}" for figure in (forwards, backwards, spent)]
        rows.append(f"| {_short(line)} | {sizes} | {' | '.join(words)} |\n")
    return HEAD + "".join(rows)


def _same(network: str) -> str:
    """All score networks are NCSNv2."""
    return "score" if network.startswith("score") else network


def _short(line: str) -> str:
    _, context = parsed(line)
    if paper := context.params["paper"]:
        return f"{TITLES[paper]} Table {context.params['number']}"
    threat = "".join(f", {threat}" for threat in context.params["threats"])
    attacks = " ".join(f"`{item}`" for item in context.params["attacks"])
    defenses = " ".join(f"`{item}`" for item in context.params["defenses"])
    return f"{defenses} on {context.params['dataset']}{threat}: {attacks}"


def test_the_costs_are_those_of_the_plans() -> None:
    text = (DOCS / "reproduce.md").read_text()
    assert text.partition(MARK)[2] == table()


def test_the_papers_classes_are_what_is_planned_at_full_size() -> None:
    api.load()
    ((made, _),) = planned("bench run --defense all --attacks all --dataset cifar10")
    texts = " ".join(p.cell.defense for p in made.cells)
    assert "network=compact" not in texts
    assert "network=unet" not in texts
