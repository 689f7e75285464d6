"""Which settings a board has that could vary, and the run that lets one of them vary."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

from bench.boards.analysis import WORST
from bench.boards.board import Board, aside
from bench.boards.flags.between import informed
from bench.report.charts.selection import Choice
from bench.spec import NO_ATTACK, Part, Value, number, parse_defense, parse_part, show
from bench.threat import Threat

Owner = Literal["defense", "attack", "threat"]
OWNERS: tuple[Owner, ...] = ("defense", "attack", "threat")
"""Whose setting may vary."""
EPS = "eps"
Known = dict[Owner, dict[str, tuple[str, Value]]]
"""Of each owner: numeric setting -> (a name that has it, its value there)."""
Setting = tuple[Owner, str, str, Value]
"""Whose, its name, a defense or attack that has it, its value there."""


USUAL: dict[str, Setting] = {
    "steps": ("defense", "steps", "adp", "10"),
    "runs": ("defense", "runs", "adp", "10"),
    "sigma": ("defense", "sigma", "adp", "0.1"),
    "eot": ("attack", "eot", "bpda-eot", "15"),
    "lambdas": ("attack", "lambdas", "auxiliary", "0.5"),
    EPS: ("threat", EPS, "", "8/255"),
}
"""What the papers' figures vary, for results that hold none of it."""
ATTACKS = "adaptive"
"""What a run might measure a setting of a defense under, where no attack on it is stored."""


def numeric(part: Part, key: str) -> float | None:
    """The value of a setting, where it is there and a number."""
    settings = dict(part.settings)
    if key not in settings:
        return None
    try:
        return number(settings[key])
    except (ValueError, ZeroDivisionError):
        return None


def without(part: Part, key: str) -> Part:
    """The same part with one setting less."""
    return Part(part.name, tuple(pair for pair in part.settings if pair[0] != key))


def settings_of(boards: Iterable[Board]) -> Known:
    """Every numeric setting on the boards."""
    known: Known = {owner: {} for owner in OWNERS}
    for board in boards:
        known["threat"].setdefault(EPS, ("", Threat.parse(board.threat).radius))
        for row in board.rows:
            for part in parse_defense(row.settings).parts:
                _note(known["defense"], part, row.asked)
            for column, entry in row.complete().items():
                if not aside(entry.threat):
                    _note(known["attack"], parse_part(entry.settings), column)
    return known


def run_line(setting: Setting, choice: Choice, dataset: str, boards: Sequence[Board]) -> str:
    """A `bench run` that measures three values of a setting and changes nothing else."""
    owner, key, name, value = setting
    defenses = list(choice.defenses) or ["adp" if owner != "defense" else name]
    attacks = list(choice.attacks) or [_attack(name, boards) if owner != "attack" else name]
    attacks = [text for text in attacks if text not in ("worst", WORST)] or ["all"]
    if owner == "defense":
        defenses = [_with(defenses[0], key, each) for each in around(value)]
        attacks = list(dict.fromkeys([NO_ATTACK, *attacks]))
    if owner == "attack":
        attacks = [_with(attacks[0], key, each) for each in around(value)]
    words = ["bench", "run"]
    words += [word for text in defenses for word in ("--defense", text)]
    words += [word for text in attacks for word in ("--attacks", text)]
    words += ["--dataset", dataset]
    if owner == "threat":
        norm = Threat.parse(boards[0].threat).norm if boards else "linf"
        words += ["--threat", ",".join(f"{norm}:{each}" for each in around(value))]
    preset = choice.preset or (boards[0].preset if boards else "")
    return shlex.join(words + (["--preset", preset] if preset else []))


def _attack(defense: str, boards: Sequence[Board]) -> str:
    """The strongest attack that is stored of a defense and knows it; else ATTACKS."""
    found = [
        entry
        for board in boards
        for row in board.rows
        if row.asked == defense
        for entry in informed(row.complete(board.threat)).values()
    ]
    return min(found, key=lambda entry: entry.figure.value).attack if found else ATTACKS


def around(value: Value) -> list[str]:
    """Half of a value, itself and twice it, as it is written; whole numbers stay whole."""
    text = str(value)
    if "/" in text:
        top, bottom = text.split("/")
        return [f"{each}/{bottom}" for each in around(top)]
    x = number(text)
    if x.is_integer() and "." not in text and "e" not in text:
        whole = (max(1, int(x) // 2), int(x), 2 * int(x)) if x > 1 else (int(x), 2, 4)
        return [show(each) for each in dict.fromkeys(whole)]
    return [f"{each:g}" for each in ((x / 2, x, 2 * x) if x else (0.0, 0.25, 0.5))]


def _note(known: dict[str, tuple[str, Value]], part: Part, name: str) -> None:
    for key, value in part.settings:
        if numeric(part, key) is not None:
            known.setdefault(key, (name, value))


def _with(name: str, key: str, value: str) -> str:
    """A typed name with one more setting, or with another value of it."""
    head, at, classifier = name.partition("@")
    part = without(parse_part(head), key)
    text = str(part)
    return f"{text}{',' if ':' in text else ':'}{key}={value}{at}{classifier}"
