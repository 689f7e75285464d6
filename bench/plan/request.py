"""What was asked for: that every name and setting of it exists, and how to ask for it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from attacks import catalog as attacks
from bench import api
from bench.api import PRESETS, AttackPlugin
from bench.api.images import DatasetInfo
from bench.data.subsets import load_subset
from bench.errors import BenchError, unknown
from bench.spec import parse_defense, parse_part, split_list
from bench.threat import Threat
from defenses import catalog as defenses

MOST_SEEDS = 1000
"""Every seed is a cell of its own: a slip of the finger must not fill the memory with them."""


@dataclass(frozen=True)
class Request:
    """What a user typed. Empty texts and zero mean the data set's default.

    draws: of the judge where something is random, at least the data set's own number.
    """

    defenses: Sequence[str]
    attacks: Sequence[str] = ("all",)
    dataset: str = "patches"
    threat: str = ""
    subset: str = ""
    images: int = 0
    seeds: int = 1
    preset: str = "standard"
    controls: Sequence[str] | None = None
    plugins: Sequence[str] = ()
    weights: Sequence[str] = ()
    draws: int = 0


def check(request: Request) -> tuple[DatasetInfo, Threat, str]:
    """The data set, the ball and the subset of a request whose names and settings all exist.

    Imports nothing heavy where the plug-ins are declared, so that a wrong word is said at once.

    Raises:
        BenchError: an unknown name, key or value.
    """
    info = find_info(request.dataset)
    if request.preset not in PRESETS:
        raise unknown("preset", request.preset, PRESETS)
    threat = Threat.parse(request.threat or info.threat)
    if not threat.is_ball:
        raise BenchError(f"threat '{threat}' is not a ball; write a norm and an eps: {info.threat}")
    if not 0 < request.seeds <= MOST_SEEDS:
        raise BenchError(f"--seeds needs a number from 1 to {MOST_SEEDS}")
    if request.draws and request.draws < info.draws:
        raise BenchError(
            f"--draws {request.draws}: the judge draws {info.draws} times on '{info.name}' "
            f"(allowed: {info.draws} and more)"
        )
    subset = request.subset or info.subset
    load_subset(info.name, subset)
    for _, label in labels(request.attacks, groups()):
        attack = parse_part(label)
        find_attack(attack.name).chosen(attack, info.name, request.preset)
    for _, label in labels(request.defenses, defense_groups()):
        check_defense(label, info.name, request.preset)
    return info, threat, subset


def check_defense(text: str, dataset: str, preset: str = "") -> None:
    """Refuse a defense with a name or a setting that does not exist; imports nothing heavy."""
    spec = parse_defense(text)
    for part in spec.parts:
        api.find_defense(part.name).chosen(part, dataset, preset)
    api.find_classifier(spec.classifier.name).chosen(spec.classifier, dataset)


def groups() -> Mapping[str, tuple[str, ...]]:
    """The groups of attacks, each with its members."""
    return attacks.GROUPS


def defense_groups() -> Mapping[str, tuple[str, ...]]:
    """The groups of defenses, each with its members: ours, and those that defenses declare.

    Raises:
        BenchError: a declared group has the name of a defense, or of a group of ours.
    """
    declared = api.groups()
    if taken := sorted({*declared} & {*defenses.GROUPS, *api.names("defense")}):
        raise BenchError(f"group '{taken[0]}' of a plug-in: a defense or group has that name")
    return {**declared, **defenses.GROUPS}


def labels(texts: Iterable[str], known: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """What was typed, group or name, with each name that it stands for."""
    for text in split_list(texts):
        yield from ((text, label) for label in known.get(text, (text,)))


def command(request: Request) -> str:
    """The line that asks for this again, on any machine: only what decides the numbers."""
    subset = request.subset if request.subset != find_info(request.dataset).subset else ""
    words = ["bench", "run"]
    for flag, values in (("--defense", request.defenses), ("--attacks", request.attacks)):
        words += [word for value in values for word in (flag, value)]
    words += ["--dataset", request.dataset, "--preset", request.preset]
    for value in request.controls or ("off",) if request.controls is not None else ():
        words += ["--control", value]
    for flag, values in (("--plugin", request.plugins), ("--weights", request.weights)):
        words += [word for value in values for word in (flag, value)]
    optional = {"--threat": request.threat, "--subset": subset, "--images": request.images or ""}
    words += [word for flag, value in optional.items() if value for word in (flag, str(value))]
    words += ["--seeds", str(request.seeds)] if request.seeds > 1 else []
    return shlex.join(words + (["--draws", str(request.draws)] if request.draws else []))


def find_info(dataset: str) -> DatasetInfo:
    """The facts of a data set, or a BenchError with the nearest name."""
    info = api.find_dataset(dataset).info
    if info is None:
        raise BenchError(f"data set '{dataset}' is registered without its facts (info=...)")
    return info


def find_attack(name: str) -> AttackPlugin:
    """The plug-in of an attack, or a BenchError with the nearest name."""
    known = api.names("attack", patterns=True)
    if name not in known:
        raise unknown("attack or group", name, [*known, *groups()])
    return api.find_attack(name)
