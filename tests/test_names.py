"""Nothing in bench/ knows a plug-in by its name: what one knows of itself it declares."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import catalog as attacks
from bench import api
from bench.spec import NO_PURIFIER, parse_defense, parse_part
from bench.threat import MARKERS
from defenses import catalog as defenses

ROOT = Path(__file__).parents[1]
GRADIENT = "the gradient of that name"
ALLOWED = {
    "bench/facts.py: bpda": GRADIENT,
    "bench/boards/answer.py: bpda": GRADIENT,
    "bench/boards/flags/between.py: bpda": GRADIENT,
    "bench/boards/flags/knowledge.py: bpda": GRADIENT,
    "bench/spec.py": "the two words of the harness: it adds the bare classifier and clean images",
    "bench/literature/sheets.py": "names of papers",
    "bench/models/nets/__init__.py": "names of networks",
    "bench/training/recipes/aid.py": "names of networks",
    "bench/training/candidates.py": "the experiment that chose the settings of our own defenses",
    "bench/training/choose.py": "the experiment that chose the settings of our own defenses",
    "bench/training/merit.py": "what a figure in a manifest is called",
    "bench/training/recipes/noisy.py": "what a figure in a manifest is called",
    "bench/data/corruptions/__init__.py": "kinds of corruptions",
    "bench/data/make_subsets.py": "subsets are called after the scripts that drew them",
    "bench/report/figures/plane.py": "captions",
    "bench/walkthrough/strips.py": "captions",
    "bench/report/charts/selection.py": "an example in a message",
    "bench/report/charts/curves.py": "an example in a message",
    "bench/report/charts/suggest.py": "an example in a message",
    "bench/models/zoo/robustbench.py": "the name of a package",
}
"""File, or file and name -> why a literal there may be called like a plug-in."""
NAMES = {
    *(parse_part(label).name for members in attacks.GROUPS.values() for label in members),
    *(part.name for label in defenses.ALL for part in parse_defense(label).parts),
    *(plugin.name for plugin in api.controls()),
    *(NO_PURIFIER, "submitted"),
}
"""Of ours: a plug-in from outside may be called like any word."""


def literals(path: Path) -> Iterator[ast.Constant]:
    """Texts in a module's code, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node


def named(text: str) -> str:
    """The plug-in that a text without a space is called like: `x`, `x:key=1`, `x@y`, `x+y`, `x,y`.

    A threat is called `none` or `corruption` too.
    """
    first = re.split(r"[:@+,]", text)[0]
    return first if first in NAMES and not re.search(r"\s", text) and text not in MARKERS else ""


def test_no_module_of_the_harness_names_a_plug_in() -> None:
    places, used = [], set()
    for path in sorted((ROOT / "bench").rglob("*.py")):
        where = str(path.relative_to(ROOT))
        for node in literals(path):
            if name := named(str(node.value)):
                exceptions = {where, f"{where}: {name}"} & set(ALLOWED)
                used |= exceptions
                places += [] if exceptions else [f"{where}:{node.lineno}: {name}"]
    assert places == []
    assert used == set(ALLOWED), "an exception that is none any more"


@pytest.mark.parametrize(
    "text", ["pgd-exact", "bpda:steps=4", "none@", "adp@madry", "jpeg+adp", "clean,corruption"]
)
def test_a_name_is_seen_however_it_is_written(text: str) -> None:
    assert named(text)


@pytest.mark.parametrize("text", ["none", "corruption", "exact", "none of them", "pgd-exactly"])
def test_other_words_are_no_names(text: str) -> None:
    assert not named(text)
