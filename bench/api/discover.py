"""How plug-ins are found.

Every module in `defenses/`, `attacks/`, `bench/models/classifiers/` and `bench/data/`, every entry
point of the group `purifybench.plugins` and every `--plugin FILE` is imported once. One that fails
to import is listed as broken with its reason; the rest works.

Until torch is there, the project's own are only declared, where the index knows them
(`bench.api.index`): the first function of one that is called imports them all.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from bench.api.attack_plugin import AttackPlugin
from bench.api.deferred import is_deferred
from bench.api.index import Index, forget
from bench.api.moved import hint
from bench.api.neighbours import import_file
from bench.api.plugin import ClassifierPlugin, DatasetPlugin, DefensePlugin, Plugin
from bench.api.register import PLUGINS
from bench.errors import BenchError, told, unknown
from bench.files.bounded import is_file

HOUSE = ("bench.data", "defenses", "attacks", "bench.models.classifiers")
"""Every module of these is imported: a new file registers what it declares."""
ENTRY_POINTS = "purifybench.plugins"


@dataclass(frozen=True)
class Broken:
    """A plug-in that could not be imported, and why, in one line."""

    where: str
    reason: str


BROKEN: list[Broken] = []


def load(files: Iterable[str] = ()) -> None:
    """Know every plug-in: the project's folders, entry points, then `files`, imported once.

    Raises:
        BenchError: a file of `files` does not exist or fails to import (it was named).
    """
    if "torch" in sys.modules:  # what importing would cost is paid already
        import_house()
    _load()
    for file in files:
        _import_file(Path(file))


@cache
def _load() -> None:
    if not import_house.cache_info().currsize:
        index = Index()
        declared = index.read(import_house)
        for plugin in declared:
            PLUGINS[plugin.kind].setdefault(plugin.name, plugin)
        if not declared:
            import_house()
            if not BROKEN:
                index.write(PLUGINS)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        with _alone():
            _import(point.module)


@cache
def import_house() -> None:
    """Import the project's own plug-ins; one that was only declared becomes the real one."""
    for package in HOUSE:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            _import(f"{package}.{module.name}")
    for known in PLUGINS.values():
        for name in [name for name, plugin in known.items() if is_deferred(plugin)]:
            del known[name]
            forget()  # what it imports from elsewhere is not what it was


def _alone() -> AbstractContextManager[None]:
    """Inside, what is imported changes nothing for others; it brings torch, as plug-ins do.

    The project's own are imported before: they are no part of what is put back.
    """
    from bench.compute.surroundings import as_before

    import_house()
    return as_before()


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        BROKEN.append(Broken(name, told(error) + hint(error)))


def _import_file(path: Path) -> None:
    if not is_file(path):
        raise BenchError(f"plug-in file '{path}' does not exist")
    if path.suffix != ".py":
        raise BenchError(f"plug-in '{path}' is not a Python file (.py)")
    try:
        with _alone():
            import_file(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BenchError(f"plug-in '{path}' fails to import: {told(error)}{hint(error)}") from None


def broken() -> tuple[Broken, ...]:
    """The plug-ins that failed to import."""
    load()
    return tuple(BROKEN)


def names(kind: str, patterns: bool = False) -> list[str]:
    """Registered names of a kind, sorted; with `patterns` also those that need more than a name."""
    load()
    return sorted(name for name, plugin in PLUGINS[kind].items() if patterns or not plugin.pattern)


def compact(dataset: str) -> str:
    """The data set with the same images and compact networks, or nothing."""
    infos = (find_dataset(name).info for name in names("dataset"))
    return next((info.name for info in infos if info and info.images_of == dataset), "")


def controls() -> list[DefensePlugin]:
    """The defenses that are cheap filters to compare with, in the order of their registration."""
    load()
    defenses = (p for p in PLUGINS["defense"].values() if isinstance(p, DefensePlugin))
    return [plugin for plugin in defenses if plugin.control]


def groups() -> dict[str, tuple[str, ...]]:
    """The groups that defenses declare themselves, with the labels of their members, by name."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names("defense"):
        for group, labels in find_defense(name).groups.items():
            found[group] = (*found.get(group, ()), *labels)
    return found


def find(kind: str, name: str) -> Plugin:
    """The plug-in `name` of a kind, or a BenchError with the nearest name."""
    return _find(kind, name, Plugin)


def find_defense(name: str) -> DefensePlugin:
    """The purifier `name`, or a BenchError with the nearest name."""
    return _find("defense", name, DefensePlugin)


def find_attack(name: str) -> AttackPlugin:
    """The attack `name`, or a BenchError with the nearest name."""
    return _find("attack", name, AttackPlugin)


def find_classifier(name: str) -> ClassifierPlugin:
    """The classifier `name`, or a BenchError with the nearest name."""
    return _find("classifier", name, ClassifierPlugin)


def find_dataset(name: str) -> DatasetPlugin:
    """The data set `name`, or a BenchError with the nearest name."""
    return _find("dataset", name, DatasetPlugin)


P = TypeVar("P", bound=Plugin)


def _find(kind: str, name: str, expected: type[P]) -> P:
    load()
    plugin = PLUGINS[kind].get(name)
    if isinstance(plugin, expected):
        return plugin
    failed = [b for b in BROKEN if b.where.rpartition(".")[2] == name.replace("-", "_")]
    if failed:
        raise BenchError(f"{kind} '{name}' is broken: {failed[0].reason}")
    raise unknown(kind, name, PLUGINS[kind])
