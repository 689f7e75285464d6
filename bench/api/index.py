"""What the project's own plug-ins declare, kept in a file, so that a name needs no import.

Torch takes seconds to import and every plug-in imports it; a wrong name, a list or a plan's first
words need only what was declared. The file is believed where every source file of the project
has the content and the time that it was made from (Python's own compiled copies go by the time),
and Python and the installed packages are the same. Else, and where it is damaged, it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from bench.api.attack_plugin import AttackPlugin
from bench.api.deferred import Answer, Deferred, asked
from bench.api.images import DatasetInfo
from bench.api.neighbours import SHIPPED
from bench.api.plugin import ClassifierPlugin, DatasetPlugin, DefensePlugin, Plugin
from bench.errors import BenchError
from bench.files.bounded import content_of, json_of
from bench.files.paths import home
from bench.files.write import write_whole
from bench.spec import DEFAULT_CLASSIFIER, Later, Part, Range

FORMAT = 2
MOST = 16 << 20
"""Bytes of an index."""
READ = (*all_suffixes(), ".toml", ".json")
"""What the names of files end with that plug-ins are made of."""
KINDS: dict[str, type[Plugin]] = {
    kind.kind: kind for kind in (AttackPlugin, ClassifierPlugin, DatasetPlugin, DefensePlugin)
}
TYPES: dict[str, type] = {kind.__name__: kind for kind in (str, int, float, bool)}
Table = Mapping[str, Mapping[str, Plugin]]


class Index:
    """The file, for the project as it is now."""

    def __init__(self) -> None:
        self._key = _key()

    def read(self, bring: Callable[[], None]) -> list[Plugin]:
        """The declared plug-ins; none where the file is not of today.

        bring: imports them all.
        """
        try:
            digest, _, body = content_of(_path(), MOST).partition(b"\n")
            if digest.decode() != _sealed(self._key, body):
                return []
            return [_plugin(entry, bring) for entry in json_of(body)["plugins"]]
        except (BenchError, ValueError, TypeError, KeyError, OSError, RuntimeError):
            return []

    def write(self, table: Table) -> None:
        """Keep what all imported plug-ins declare; not where that cannot be said, or written.

        Files that were edited meanwhile may not be what was imported. What a plug-in raises where
        it is asked is said when somebody uses it, not here.
        """
        with suppress(Exception):
            plugins = [plugin for known in table.values() for plugin in known.values()]
            entries = [_entry(plugin, table) for plugin in plugins]
            body = json.dumps({"plugins": entries}).encode()
            if _key() == self._key:
                write_whole(_path(), f"{_sealed(self._key, body)}\n".encode() + body)


def forget() -> None:
    """Remove the file: the next command asks the plug-ins themselves."""
    with suppress(OSError, RuntimeError):
        _path().unlink(missing_ok=True)


def _path() -> Path:
    """One file for each place that the project is imported from, and each Python."""
    where = hashlib.sha256(f"{__file__}\n{sys.prefix}".encode()).hexdigest()
    return home() / "plugins" / f"{where[:16]}.json"


def _sealed(key: str, body: bytes) -> str:
    return hashlib.sha256(key.encode() + body).hexdigest()


def _key() -> str:
    """The digest of all that decides what plug-ins declare."""
    digest = hashlib.sha256(f"{FORMAT}\n{sys.version}\n{sys.flags.optimize}\n".encode())
    installed: set[str] = set()
    for entry in sys.path:
        with suppress(OSError):
            installed.update(name for name in os.listdir(entry) if name.endswith("-info"))
    digest.update("\n".join(sorted(installed)).encode())
    for path in _sources():
        digest.update(f"{path}\n".encode("utf-8", "surrogateescape"))
        with suppress(OSError):  # an editor's lock, a link to nothing
            digest.update(f"{os.stat(path).st_mtime_ns}\n".encode())
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def _sources() -> list[str]:
    """Every file that a module of the project is made of, sorted."""
    found = []
    for package in SHIPPED:
        for top in import_module(package).__path__:
            for folder, inside, names in os.walk(top):
                inside[:] = [name for name in inside if name != "__pycache__"]
                found += [f"{folder}/{name}" for name in names if name.endswith(READ)]
    return sorted(found)


def _entry(plugin: Plugin, table: Table) -> dict[str, Any]:
    """A plug-in as data: what is plain, and the names of its functions."""
    own = {f.name: getattr(plugin, f.name) for f in fields(plugin) if f.name != "factory"}
    usual = {f.name: f.default for f in fields(plugin)}
    changed = {name: value for name, value in own.items() if value is not usual[name]}
    factory = plugin.factory
    answers: dict[str, dict[str, Answer]] = {}
    for name, args in () if plugin.pattern else _questions(plugin, table):
        answers.setdefault(name, {})[asked(args)] = _answer(getattr(plugin, name), args)
    return {
        "kind": plugin.kind,
        "factory": [factory.__module__, factory.__qualname__, factory.__doc__],
        "plain": {name: _told(value) for name, value in changed.items() if not callable(value)},
        "functions": [name for name, value in changed.items() if callable(value)],
        "answers": answers,
        "defaults": _told(plugin.defaults),
        "hints": [[key, *_hint(hint)] for key, hint in plugin.hints.items()],
    }


def _questions(plugin: Plugin, table: Table) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What a list of plug-ins asks each: function and arguments."""
    settings = plugin.chosen(Part(plugin.name))
    for name in ("fits", "knows", "follows"):
        if callable(getattr(plugin, name, None)):
            yield name, (settings, "") if name == "fits" else (settings,)
    if isinstance(plugin, DefensePlugin) and plugin.control:
        behind = table["classifier"][DEFAULT_CLASSIFIER]
        for each in table["dataset"].values():
            if isinstance(each, DatasetPlugin) and each.info:
                there = plugin.chosen(Part(plugin.name), each.name)
                yield "fits", (there, each.name)
                yield "misfit", (there, behind, each.info)


def _answer(function: Callable[..., Any], args: tuple[Any, ...]) -> Answer:
    try:
        said = function(*args)
    except BenchError as error:
        return None, str(error)
    if not isinstance(said, str | None):
        raise TypeError(said)
    return said, ""


def _plugin(entry: Mapping[str, Any], bring: Callable[[], None]) -> Plugin:
    """A plug-in of the kind whose functions wait for its import."""
    factory = Deferred("factory", bring)
    names = ("__module__", "__qualname__", "__doc__")
    vars(factory).update(zip(names, entry["factory"], strict=True))
    own: dict[str, Any] = {name: _value(value) for name, value in entry["plain"].items()}
    for name in entry["functions"]:
        answers = {key: (said, no) for key, (said, no) in entry["answers"].get(name, {}).items()}
        own[name] = Deferred(name, bring, answers)
    made = KINDS[entry["kind"]](factory=factory, **own)
    for value in (factory, *own.values()):
        if isinstance(value, Deferred):
            value.owner = made
    hints = {key: _type(base, marks) for key, base, marks in entry["hints"]}
    vars(made).update(own, defaults=_value(entry["defaults"]), hints=hints)
    return made


def _told(value: Any) -> Any:
    """A plain value as JSON that keeps its type; TypeError for another."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return [_told(item) for item in value]
    if isinstance(value, DatasetInfo):
        return {"info": {f.name: _told(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {"map": [[_told(key), _told(item)] for key, item in value.items()]}
    raise TypeError(type(value))


def _value(told: Any) -> Any:
    if isinstance(told, list):
        return tuple(_value(item) for item in told)
    if isinstance(told, dict) and "info" in told:
        return DatasetInfo(**{key: _value(item) for key, item in told["info"].items()})
    if isinstance(told, dict):
        return {_value(key): _value(item) for key, item in told["map"]}
    return told


def _hint(hint: Any) -> tuple[Any, list[Any]]:
    """A declared type: the name of a type or the list of choices, and the marks beside it."""
    marks = [
        [mark.low, mark.high] if isinstance(mark, Range) else []
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Range | Later)
    ]
    base = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if get_origin(base) is Literal:
        return list(get_args(base)), marks
    if base not in TYPES.values():
        raise TypeError(base)
    return base.__name__, marks


def _type(base: Any, marks: list[list[Any]]) -> Any:
    found: Any = Literal[tuple(base)] if isinstance(base, list) else TYPES[base]
    for mark in marks:
        found = Annotated[found, Range(*mark) if mark else Later()]
    return found
