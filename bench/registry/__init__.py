"""Where plug-ins register, and how they are found."""

from bench.registry.declare import attack, classifier, dataset, defense
from bench.registry.discover import (
    Broken,
    broken,
    controls,
    find,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    load,
    names,
)
from bench.registry.neighbours import sources
from bench.registry.plugin import (
    OWNER,
    PRESETS,
    AttackPlugin,
    Base,
    Context,
    DatasetPlugin,
    DefensePlugin,
    Plugin,
    Runs,
    both_ways,
    owned,
)

__all__ = [
    "OWNER",
    "PRESETS",
    "AttackPlugin",
    "Base",
    "Broken",
    "Context",
    "DatasetPlugin",
    "DefensePlugin",
    "Plugin",
    "Runs",
    "attack",
    "both_ways",
    "broken",
    "classifier",
    "controls",
    "dataset",
    "defense",
    "find",
    "find_attack",
    "find_classifier",
    "find_dataset",
    "find_defense",
    "load",
    "names",
    "owned",
    "sources",
]
