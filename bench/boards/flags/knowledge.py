"""What the attack of a column says of itself, and what its threat says of it."""

from __future__ import annotations

from bench.boards.board import Entry
from bench.errors import BenchError
from bench.facts import Facts, Follows
from bench.spec import Part, parse_part
from bench.threat import MARKERS, Threat

UNBOUNDED = 0.5
"""linf radius within which every image can be made the same grey."""


def facts(entry: Entry) -> Facts:
    """What the attack says of itself; a column of an older plan takes part in no comparison."""
    return entry.facts or Facts(knows="mixed", budget=())


def follows(entry: Entry) -> Follows:
    """Which gradient through the purifiers an attack climbs, as it says or else as it recorded."""
    through = entry.any.records[0].gradient
    recorded: Follows = "exact" if "exact" in through.split("+") else ""
    return facts(entry).follows or ("bpda" if through == "bpda" else recorded)


def part_of(entry: Entry) -> Part | None:
    """The resolved attack; None where one column holds several."""
    try:
        return parse_part(entry.settings)
    except BenchError:
        return None


def radius(threat: str) -> float:
    """eps of an linf ball; 0 for every other threat."""
    found = Threat.parse(threat)
    return found.eps if found.norm == "linf" and not found.aside else 0.0


def empty(threat: str) -> bool:
    """Whether a ball has radius 0: a control, in which no attack can do anything."""
    found = Threat.parse(threat)
    return found.norm not in MARKERS and not found.eps
