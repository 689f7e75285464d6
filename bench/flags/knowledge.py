"""What an attack knows of a defense and follows, as far as its name and settings say."""

from __future__ import annotations

from typing import Literal

from bench.boards import SUBMITTED, Entry
from bench.errors import BenchError
from bench.spec import Part, number, parse_part

# What an attack may look at decides which figures contradict each other.
NOISE = "noise"
BLACK_BOX = ("square", "spsa", "transfer", NOISE)
BLIND = ("classifier-pgd",)
MIXED = ("autoattack", SUBMITTED)
BPDA = ("bpda", "bpda-eot")
EXACT = ("pgd-exact",)
BUDGET = ("steps", "eot")
"""Settings of which more is at least as strong."""
UNBOUNDED = 0.5
"""linf radius within which every image can be made the same grey."""

Knowledge = Literal["little", "blind", "mixed", "all"]


def base(label: str) -> str:
    """The plug-in's name without settings: `transfer` of `transfer:source=same`."""
    return label.partition(":")[0]


def knows(entry: Entry) -> Knowledge:
    """Nothing of the gradients, the classifier alone, a library's mixture, or the whole defense."""
    name = base(entry.attack)
    if name in BLACK_BOX:
        return "little"
    if name in BLIND or _gradient(entry) == "blind":
        return "blind"
    return "mixed" if name in MIXED else "all"


def follows(entry: Entry) -> Literal["bpda", "exact", ""]:
    """Which gradient through the purifier an attack climbs; empty where its name does not say."""
    name, gradient = base(entry.attack), _gradient(entry)
    if name in MIXED:
        return ""
    if name in BPDA or gradient == "bpda":
        return "bpda"
    return "exact" if name in EXACT or "exact" in gradient.split("+") else ""


def part_of(entry: Entry) -> Part | None:
    """The resolved attack; None where one column holds several."""
    try:
        return parse_part(entry.settings)
    except BenchError:
        return None


def radius(threat: str) -> float:
    """eps of an linf ball; 0 for every other threat."""
    norm, _, eps = threat.partition(":")
    return number(eps) if norm == "linf" else 0.0


def empty(threat: str) -> bool:
    """Whether a ball has radius 0: a control, in which no attack can do anything."""
    eps = threat.rpartition(":")[2]
    return threat != eps and not number(eps)


def _gradient(entry: Entry) -> str:
    """What the attack was set to follow, or did follow where that depends on the defense."""
    part = part_of(entry)
    typed = str(dict(part.settings).get("gradient", "")) if part else ""
    return typed or entry.any.records[0].gradient
