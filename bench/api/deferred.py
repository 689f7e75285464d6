"""A plug-in that is declared and not imported yet: its functions import it when one is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from bench.api.images import DatasetInfo
from bench.api.plugin import Plugin
from bench.errors import BenchError

Answer = tuple[str | None, str]
"""What a function returned, and what it refused with, where it did."""


class Deferred:
    """Stands for a function of a plug-in; imports the plug-ins unless the answer is known."""

    owner: Plugin

    def __init__(
        self, name: str, bring: Callable[[], None], answers: Mapping[str, Answer] | None = None
    ) -> None:
        """name: of the plug-in's field. bring: imports the plug-ins, which fills `owner` in."""
        self._name, self._bring, self._answers = name, bring, answers or {}

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the function says."""
        if self._answers and not named and (key := asked(args)) in self._answers:
            said, refused = self._answers[key]
            if refused:
                raise BenchError(refused)
            return said
        self._bring()
        if is_deferred(self.owner):
            raise BenchError(
                f"{self.owner.kind} '{self.owner.name}' no longer imports: bench list says why"
            )
        return getattr(self.owner, self._name)(*args, **named)


def is_deferred(plugin: Plugin) -> bool:
    """Whether only its declaration is here."""
    return isinstance(plugin.factory, Deferred)


def become(known: Plugin, imported: Plugin) -> None:
    """Make a declared plug-in the imported one, for everybody who holds it."""
    vars(known).clear()
    vars(known).update(vars(imported))


def asked(args: tuple[Any, ...]) -> str:
    """The digest of what a function is asked; nothing where that is no plain data."""
    try:
        text = json.dumps([_plain(value) for value in args])
    except TypeError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, Plugin):
        return [value.kind, value.name]
    if isinstance(value, DatasetInfo):
        return asdict(value)
    return sorted(value.items()) if isinstance(value, Mapping) else value
