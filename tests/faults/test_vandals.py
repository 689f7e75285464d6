"""Plug-ins that leave something behind: other cells keep their verdicts, or the shard fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import api
from bench.api.register import PLUGINS
from bench.measure import build
from bench.measure.worker import Failure, Setup, Task, measure
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.store import Planned, Record
from tests.factories import repeatable

FILE = Path(__file__).with_name("vandals.py")


def _names(table: str) -> list[str]:
    """The keys of a dictionary of vandals.py, which registers plug-ins when it is imported."""
    lines = FILE.read_text().partition(f"\n{table}: ")[2].partition("\n}")[0]
    return re.findall(r'^    "([a-z-]+)": ', lines, re.M)


QUICK = ("train-everywhere", "weights-zero", "no-purifiers", "predict", "eps", "inference")
ACTS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in _names("ACTS")
]
HABITS = [
    pytest.param(name, marks=() if name in ("counter", "buffer") else pytest.mark.slow)
    for name in _names("HABITS")
]
VICTIMS = [
    ("none@natural", "clean"),
    ("gaussian:runs=2@natural", "clean"),
    ("gaussian:runs=1@natural", "bpda:steps=1"),
]


@pytest.fixture(scope="module", autouse=True)
def plugins() -> Iterator[None]:
    """The vandals are registered here and nowhere else."""
    api.load()
    with pytest.MonkeyPatch.context() as patch:
        for kind, known in PLUGINS.items():
            patch.setitem(PLUGINS, kind, dict(known))
        api.load([str(FILE)])
        yield


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    build.forget()
    yield
    build.forget()


def _planned(defense: str, attack: str) -> Planned:
    asked = Request([defense], [attack], "digits", images=32, controls=[])
    return next(p for p in make(asked)[0].cells if p.defense == defense)


def _measured(defense: str, attack: str) -> Record | Failure:
    found = measure(Task(_planned(defense, attack), 0, "standard", Setup()))
    assert isinstance(found, Record | Failure)
    return found


def _told(found: Record | Failure) -> str:
    if isinstance(found, Failure):
        return found.reason
    return json.dumps(repeatable(found.to_json()))


def _victims() -> list[str]:
    return [_told(_measured(*cell)) for cell in VICTIMS]


def test_there_are_enough_of_them() -> None:
    assert len(ACTS) + len(HABITS) >= 50


@pytest.mark.parametrize("what", ACTS)
def test_an_attack_leaves_nothing_behind(what: str) -> None:
    """Nor is it judged by what it did: on a plain defense its points are the clean ones."""
    untouched = _victims()
    for _ in range(2):
        for defense in ("none@natural", "gaussian:runs=1@natural"):
            found = _measured(defense, f"vandal:what={what}")
            if isinstance(found, Record) and defense == "none@natural":
                assert f'"correct": {json.dumps(list(found.correct))}' in untouched[0]
        assert _victims() == untouched
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("what", HABITS)
def test_a_purifier_answers_the_same_whatever_was_before(what: str) -> None:
    """Its own shard too: the same numbers, or the same failure, when it is measured again."""
    untouched = _victims()
    mine = _told(_measured(f"remembers:what={what}@natural", "bpda:steps=1"))
    assert _victims() == untouched
    assert _told(_measured(f"remembers:what={what}@natural", "bpda:steps=1")) == mine
    build.forget()
    assert _told(_measured(f"remembers:what={what}@natural", "bpda:steps=1")) == mine


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("weights-zero", "the attack wrote into defense.classifier.module.network."),
        ("statistics", "running_mean"),
        ("weights-then-error", "RuntimeError: half way"),
    ],
)
def test_the_failure_names_what_was_written_into(what: str, words: str) -> None:
    found = _measured("none@natural", f"vandal:what={what}")
    assert isinstance(found, Failure)
    assert words in found.reason
