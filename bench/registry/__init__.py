"""Where plug-ins register, and how they are found."""

from bench.registry.declare import attack, classifier, dataset, defense
from bench.registry.discover import (
    Broken,
    broken,
    find,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    load,
    names,
)
from bench.registry.plugin import (
    PRESETS,
    AttackPlugin,
    Context,
    DatasetPlugin,
    DefensePlugin,
    Plugin,
    Runs,
)

__all__ = [
    "PRESETS",
    "AttackPlugin",
    "Broken",
    "Context",
    "DatasetPlugin",
    "DefensePlugin",
    "Plugin",
    "Runs",
    "attack",
    "broken",
    "classifier",
    "dataset",
    "defense",
    "find",
    "find_attack",
    "find_classifier",
    "find_dataset",
    "find_defense",
    "load",
    "names",
]
