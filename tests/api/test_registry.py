from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from bench import api
from bench.api import AttackPlugin, DefensePlugin, Plugin
from bench.api.purifier import Traits
from bench.errors import BenchError, unknown
from bench.spec import Later, Range, parse_part


def purifier(
    context: object, *, sigma: Annotated[float, Range(0, 1)] = 0.25, steps: int = 10
) -> None:
    """Cleans images.

    More words.
    """


PLUGIN = Plugin(
    "toy",
    purifier,
    settings={"digits": {"sigma": 0.5}, "quick": {"steps": 2}, "quick@digits": {"steps": 3}},
)


@pytest.mark.parametrize(
    ("typed", "dataset", "preset", "resolved"),
    [
        ("toy", "patches", "", "toy:sigma=0.25,steps=10"),
        ("toy", "digits", "", "toy:sigma=0.5,steps=10"),
        ("toy", "patches", "quick", "toy:sigma=0.25,steps=2"),
        ("toy", "digits", "quick", "toy:sigma=0.5,steps=3"),
        ("toy:sigma=1/4,steps=7", "digits", "quick", "toy:sigma=0.25,steps=7"),
    ],
)
def test_settings_resolve_default_data_set_preset_typed(
    typed: str, dataset: str, preset: str, resolved: str
) -> None:
    assert str(PLUGIN.resolve(parse_part(typed), dataset, preset)) == resolved


def test_resolving_twice_changes_nothing() -> None:
    once = PLUGIN.resolve(parse_part("toy"), "digits", "quick")
    assert PLUGIN.resolve(parse_part(str(once)), "patches", "paper") == once


def attack(*, steps: int = 10, source: Annotated[str, Later()] = "made") -> None:
    """Attacks."""


@pytest.mark.parametrize(
    ("typed", "dataset", "resolved"),
    [
        ("toy", "patches", "toy:steps=10"),
        ("toy:source=made", "patches", "toy:steps=10"),
        ("toy:source=files", "patches", "toy:steps=10,source=files"),
        ("toy", "cifar10", "toy:steps=10,source=files"),
        ("toy:source=made", "cifar10", "toy:steps=10,source=made"),
    ],
)
@pytest.mark.parametrize("preset", ["", "quick"])
def test_a_setting_that_came_later_leaves_older_names_as_they_were(
    typed: str, dataset: str, resolved: str, preset: str
) -> None:
    plugin = Plugin("toy", attack, settings={"cifar10": {"source": "files"}})
    found = plugin.resolve(parse_part(typed), dataset, preset)
    assert str(found) == resolved
    again = plugin.resolve(parse_part(resolved), dataset)
    assert dict(again.settings) == dict(found.settings)
    assert set(dict(found.settings)) == {"steps", "source"}


def test_the_first_line_of_the_docstring_is_the_summary() -> None:
    assert PLUGIN.summary == "Cleans images."


def test_every_shipped_plugin_imports() -> None:
    assert api.broken() == ()


def test_of_many_known_names_the_first_are_listed() -> None:
    error = str(unknown("thing", "x", [f"name-{n:03}" for n in range(200)]))
    assert error.startswith("unknown thing 'x' (known: name-000, name-001, ")
    listed, more = error.removesuffix(" more)").rsplit(" and ", 1)
    assert listed.count("name-") + int(more) == 200
    assert len(error) < 700


def test_unknown_names_list_what_is_known() -> None:
    with pytest.raises(BenchError, match="unknown defense 'adpp'; did you mean 'adp'"):
        api.find_defense("adpp")


def test_a_taken_name_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    file = tmp_path / "clash.py"
    file.write_text(
        "from bench.api import defense\n@defense('none')\ndef other(context):\n    '''Another.'''\n"
    )
    with pytest.raises(BenchError, match="'none' is already registered by defenses"):
        api.load([str(file)])
    assert api.find_defense("none").factory.__module__ == "defenses.none"


@pytest.mark.parametrize(
    ("text", "says"), [("1/0", "ZeroDivisionError"), ("import nothing_here", "nothing_here")]
)
def test_a_named_plugin_that_fails_says_why(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(BenchError, match=says):
        api.load([str(file)])


def test_a_missing_plugin_file() -> None:
    with pytest.raises(BenchError, match="does not exist"):
        api.load(["nowhere.py"])


def test_a_value_where_a_function_belongs_is_refused_by_name() -> None:
    traits: Any = Traits()
    norms: Any = "linf"
    weights: Any = ("natural",)
    with pytest.raises(BenchError, match="defense 'toy': traits= takes a function"):
        DefensePlugin("toy", purifier, traits=traits)
    with pytest.raises(BenchError, match=r"attack 'toy': norms= takes \('linf',\)"):
        AttackPlugin("toy", purifier, norms=norms)
    with pytest.raises(BenchError, match="weights= takes a function"):
        DefensePlugin("toy", purifier, weights=weights)


@pytest.mark.parametrize(
    ("cost", "says"),
    [
        ("lambda settings, traits: 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "lambda settings, traits: Runs(plain=float('nan'))",
            "ValueError: plain=nan is no number of runs",
        ),
        ("lambda settings, traits: Runs(bpda=-1)", "ValueError: bpda=-1 is no number"),
    ],
)
def test_a_function_of_a_plugin_that_fails_is_named(tmp_path: Path, cost: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"""from bench.api import Runs, attack
@attack("costly-{len(cost)}", cost={cost})
def costly():
    '''Does nothing.'''
"""
    )
    api.load([str(tmp_path / "mine.py")])
    plugin = api.find_attack(f"costly-{len(cost)}")
    with pytest.raises(BenchError) as found:
        plugin.cost({}, Traits())
    assert str(found.value).startswith(f"attack '{plugin.name}': cost= fails: {says}")
