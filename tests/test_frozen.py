"""What shards share holds settings that nobody can exchange: every dataclass of them is frozen."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import attacks
import defenses
from bench.boards import flags


def below(package: str, folders: list[str]) -> list[str]:
    return [f"{package}.{each.name}" for each in pkgutil.iter_modules(folders)]


MODULES = {
    "attacks": below("attacks", list(attacks.__path__)),
    "defenses": below("defenses", list(defenses.__path__)),
    "bench": [
        *("bench.api.ball", "bench.threat", "bench.stats", "bench.compute.rng"),
        *("bench.measure.judge", "bench.boards.metrics", "bench.boards.flags"),
        *below("bench.boards.flags", list(flags.__path__)),
    ],
}


@pytest.mark.parametrize("package", MODULES)
def test_every_dataclass_is_frozen(package: str) -> None:
    for name in MODULES[package]:
        for thing in vars(import_module(name)).values():
            if isinstance(thing, type) and thing.__module__ == name:
                params = vars(thing).get("__dataclass_params__")
                assert params is None or params.frozen, thing
