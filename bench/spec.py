"""The grammar that names everything, and the resolution of settings. Imports nothing heavy.

defense = part[+part...][@classifier]      part = name[:key=value,...]      attack = part
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

from bench.errors import BenchError, nearest, plain, unknown

Value = str | int | float | bool
Settings = Mapping[str, Value]

DEFAULT_CLASSIFIER = "natural"
NO_PURIFIER = "none"
"""The defense that is the classifier alone, which every run adds."""
NO_ATTACK = "clean"
"""The attack that leaves images as they are, which every board asks for."""
ROBUSTBENCH = "robustbench"
"""The classifier that is written with the name of its model: `robustbench/NAME`, `.../l2/NAME`."""
PROTOCOL = "protocol"
"""The setting that is part of a name: `bpda-eot:protocol=hill` is a plug-in beside `bpda-eot`."""
VOTE = "vote"
"""The setting that every defense takes: `adp:vote=10` deploys the plurality of 10 copies."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[A-Za-z0-9_.-]+){0,2}", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """Bounds of a numeric setting, for `Annotated[float, Range(0, 1)]` in a factory's signature."""

    low: float
    high: float = float("inf")


COPIES = Annotated[int, Range(1, 1_000)]
"""What `vote` may be."""


@dataclass(frozen=True)
class Later:
    """Marks a setting that came after records were published: `Annotated[str, Later()]`.

    At its keyword default it is not written, so that older records keep their names.
    """


@dataclass(frozen=True)
class Part:
    """One name with the settings that were typed (text) or resolved (values).

    unwritten: keys that its text leaves out; resolving that text gives the same values.
    """

    name: str
    settings: tuple[tuple[str, Value], ...] = ()
    unwritten: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        if self.name == "file":
            return f"file:{dict(self.settings)['path']}"
        settings = dict(self.settings)
        name = self.name
        if name == ROBUSTBENCH and "model" in settings:
            name += f"/{settings.pop('model')}"
        written = {key: value for key, value in settings.items() if key not in self.unwritten}
        pairs = ",".join(f"{key}={show(value)}" for key, value in written.items())
        return f"{name}{',' if ':' in name else ':'}{pairs}" if pairs else name


@dataclass(frozen=True)
class DefenseSpec:
    """Purifiers in order, and the classifier behind them."""

    parts: tuple[Part, ...]
    classifier: Part

    def __str__(self) -> str:
        return f"{'+'.join(map(str, self.parts))}@{self.classifier}"


def show(value: Value) -> str:
    """The one text of a value: what `coerce` reads back unchanged."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def parse_part(text: str) -> Part:
    """`name[:key=value,...]` to a Part whose values are still text.

    `protocol=P` belongs to the name: a published protocol has settings and costs of its own.

    Raises:
        BenchError: no name, or a setting that is not `key=value`.
    """
    text = text.strip()
    name, _, rest = text.partition(":")
    if name == "file":
        if not rest:
            raise BenchError("'file:' needs a path: @file:PATH")
        return Part("file", (("path", rest),))
    if not _NAME.fullmatch(name):
        raise BenchError(f"'{plain(text)}' is not a name; write name or name:key=value,key=value")
    pairs: dict[str, Value] = {}
    if name.startswith(f"{ROBUSTBENCH}/"):
        name, _, pairs["model"] = name.partition("/")
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise BenchError(f"'{plain(item)}' in '{plain(text)}' is not key=value")
        if key.strip() in pairs:
            raise BenchError(f"'{plain(key.strip())}' is set twice in '{plain(text)}'")
        pairs[key.strip()] = value.strip()
    if PROTOCOL in pairs:
        name += f":{PROTOCOL}={pairs.pop(PROTOCOL)}"
    return Part(name, tuple(pairs.items()))


def resubmitted(name: str) -> str:
    """The attack that is `name` with every candidate tried many times: a protocol of it."""
    return f"{name}-resubmit" if f":{PROTOCOL}=" in name else f"{name}:{PROTOCOL}=resubmit"


def parse_defense(text: str) -> DefenseSpec:
    """`part[+part...][@classifier]`; without a classifier, the naturally trained one."""
    purifiers, at, classifier = text.strip().partition("@")
    if at and not classifier:
        raise BenchError(f"'{plain(text)}' names no classifier after '@'")
    # "+" also stands in numbers such as 1e+3: a part begins with a letter.
    parts = tuple(parse_part(part) for part in re.split(r"\+(?=[A-Za-z])", purifiers))
    return DefenseSpec(parts, parse_part(classifier or DEFAULT_CLASSIFIER))


def split_list(texts: Iterable[str]) -> list[str]:
    """Comma lists to single specs: `a:x=1,y=2,b` is `a:x=1,y=2` and `b`; `@file:` takes the rest.

    A token with `=` and no `:` of its own continues the spec before it.
    """
    specs: list[str] = []
    for text in texts:
        head, marker, path = text.partition("@file:")
        tokens = [token for token in head.split(",") if token.strip()]
        own: list[str] = []
        for token in tokens:
            if own and "=" in token and ":" not in token.split("=")[0]:
                own[-1] += f",{token.strip()}"
            else:
                own.append(token.strip())
        if marker:
            own = own or [""]
            own[-1] += marker + path
        specs += own
    return specs


def joined_names(
    text: str, allowed: Iterable[str], what: str, setting: str, whole: str = ""
) -> tuple[str, ...]:
    """Names joined by `+`, each once. `whole`: another word that the setting takes.

    Raises:
        BenchError: a name that is not allowed, or one twice.
    """
    names, options = tuple(text.split("+")), list(allowed)
    for name in names:
        if name not in options:
            raise unknown(what, name, [*options, *filter(None, [whole])])
    if len(set(names)) < len(names):
        raise BenchError(f"{setting}={text} names one twice")
    return names


def coerce(owner: str, key: str, value: Value, hint: Any) -> Value:
    """`value` as the type that the factory declares for `key`.

    Raises:
        BenchError: not of that type, outside its Range, or not one of its choices.
    """
    base, bounds = (hint, None)
    if hasattr(hint, "__metadata__"):
        base = get_args(hint)[0]
        bounds = next((m for m in hint.__metadata__ if isinstance(m, Range)), None)
    if get_origin(base) is Literal:
        choices = [str(choice) for choice in get_args(base)]
        if str(value) not in choices:
            raise BenchError(
                f"{owner}: {key}={plain(value)} is not allowed{nearest(str(value), choices)} "
                f"(one of: {', '.join(choices)})"
            )
        return str(value)
    try:
        result: Value = _CASTS[base](value)
    except (ValueError, ZeroDivisionError):
        raise BenchError(f"{owner}: {key}={plain(value)} is not {_NOUNS[base]}") from None
    if bounds and isinstance(result, int | float) and not bounds.low <= result <= bounds.high:
        raise BenchError(
            f"{owner}: {key}={plain(value)} is out of range ({bounds.low:g} to {bounds.high:g})"
        )
    return result


def resolve(
    owner: str, hints: Mapping[str, Any], layers: Iterable[Settings], typed: Settings
) -> dict[str, Value]:
    """Later layers win, what was typed wins over all; every key must be in `hints`."""
    merged: dict[str, Value] = {}
    for layer in (*layers, typed):
        for key, value in layer.items():
            if key not in hints:
                raise BenchError(
                    f"{owner} has no setting '{plain(key)}'{nearest(key, hints)} "
                    f"(settings: {', '.join(hints) or 'none'})"
                )
            merged[key] = coerce(owner, key, value, hints[key])
    return {key: merged[key] for key in hints if key in merged}


def number(text: Value) -> float:
    """`0.03`, `3e-2` or a fraction `8/255`."""
    if isinstance(text, str) and "/" in text:
        top, bottom = text.split("/")
        return float(top) / float(bottom)
    result = float(text)
    if math.isnan(result):
        raise ValueError(text)
    return result


def _boolean(text: Value) -> bool:
    if isinstance(text, bool):
        return text
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(text).lower() not in words:
        raise ValueError(text)
    return words[str(text).lower()]


def _integer(text: Value) -> int:
    result = number(text)
    if not result.is_integer():
        raise ValueError(text)
    return int(result)


_CASTS: dict[Any, Any] = {float: number, int: _integer, bool: _boolean, str: str}
_NOUNS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
