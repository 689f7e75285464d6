"""Where plug-ins register, and how they are found."""

from bench.api.attack_plugin import AttackPlugin, Runs, Same
from bench.api.context import OWNER, Base, Context, owned
from bench.api.discover import (
    Broken,
    broken,
    compact,
    controls,
    find,
    find_attack,
    find_classifier,
    find_dataset,
    find_defense,
    groups,
    import_house,
    load,
    names,
)
from bench.api.neighbours import sources
from bench.api.plugin import (
    PRESETS,
    ClassifierPlugin,
    DatasetPlugin,
    DefensePlugin,
    Plugin,
    both_ways,
)
from bench.api.register import attack, classifier, dataset, defense
from bench.api.training import Named, Training, recipe

__all__ = [
    "OWNER",
    "PRESETS",
    "AttackPlugin",
    "Base",
    "Broken",
    "ClassifierPlugin",
    "Context",
    "DatasetPlugin",
    "DefensePlugin",
    "Named",
    "Plugin",
    "Runs",
    "Same",
    "Training",
    "attack",
    "both_ways",
    "broken",
    "classifier",
    "compact",
    "controls",
    "dataset",
    "defense",
    "find",
    "find_attack",
    "find_classifier",
    "find_dataset",
    "find_defense",
    "groups",
    "import_house",
    "load",
    "names",
    "owned",
    "recipe",
    "sources",
]
