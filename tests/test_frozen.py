"""What shards share holds settings that nobody can exchange: every dataclass of them is frozen."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import attacks
import defenses

MODULES = {
    "attacks": [f"attacks.{each.name}" for each in pkgutil.iter_modules(attacks.__path__)],
    "defenses": [f"defenses.{each.name}" for each in pkgutil.iter_modules(defenses.__path__)],
    "bench": [
        *(f"bench.{name}" for name in ("api.ball", "threat", "stats", "compute.rng")),
        *(f"bench.{name}" for name in ("measure.judge", "boards.metrics", "boards.flags")),
        *(
            f"bench.boards.flags.{e.name}"
            for e in pkgutil.iter_modules(bench.boards.flags.__path__)
        ),
    ],
}


@pytest.mark.parametrize("package", MODULES)
def test_every_dataclass_is_frozen(package: str) -> None:
    for name in MODULES[package]:
        for thing in vars(import_module(name)).values():
            if isinstance(thing, type) and thing.__module__ == name:
                params = vars(thing).get("__dataclass_params__")
                assert params is None or params.frozen, thing
