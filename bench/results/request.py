"""What one `bench run` asked for, skips included, as it is stored. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

from bench.errors import BenchError
from bench.facts import About, Facts
from bench.results.record import FORMAT, SHARD, Cell
from bench.results.seal import CHECKSUM, BrokenError, require_sealed, sealed

DAMAGED = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Planned:
    """One cell of a plan, with the labels that its row and column carry on a board."""

    cell: Cell
    defense: str
    attack: str
    control: bool = False


@dataclass(frozen=True)
class Skip:
    """A combination that a group reached and that was left out, with its reason.

    absent: not since it cannot be, but since a file that the attack reads was not there.
    """

    defense: str
    attack: str
    reason: str
    absent: bool = False

    def told(self) -> dict[str, Any]:
        """Its fields by name; `absent`, which came later, only where it holds."""
        found = {"defense": self.defense, "attack": self.attack, "reason": self.reason}
        return {**found, "absent": True} if self.absent else found


@dataclass(frozen=True)
class Plan:
    """What one `bench run` asked for: a board is a plan whose cells are measured.

    images: per cell; only a whole subset may end in a shard of fewer than 32. command: the line
    that asks for it again. attacks: resolved attack -> what it says of itself. group: the group of
    attacks, asked for as a whole, without which boards compare rows too; else empty. about: kind
    of plug-in -> name -> what it is in words.

    Fields after `format` came later: empty ones are not written, and a plan without them was made
    before plug-ins said anything of themselves.
    """

    dataset: str
    subset: str
    threat: str
    preset: str
    images: int
    cells: tuple[Planned, ...]
    skips: tuple[Skip, ...] = ()
    command: str = ""
    format: int = field(default=FORMAT)
    attacks: Mapping[str, Facts] = field(default_factory=dict)
    group: str = ""
    about: Mapping[str, Mapping[str, About]] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """Shards per cell."""
        return shards_of(self.images)

    @property
    def name(self) -> str:
        """16 hex digits of the request alone: what plug-ins say of themselves may change."""
        skips = tuple(replace(skip, absent=False) for skip in self.skips)
        bare = replace(self, attacks={}, group="", about={}, skips=skips)
        text = json.dumps(bare._data(), indent=1) + "\n"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Readable JSON, with its checksum at the end."""
        return json.dumps(sealed(self._data()), indent=1) + "\n"

    def _data(self) -> dict[str, Any]:
        data = asdict(self)
        data["skips"] = [skip.told() for skip in self.skips]
        data["attacks"] = {name: facts.told() for name, facts in self.attacks.items()}
        data["about"] = {
            kind: {name: list(astuple(about)) for name, about in known.items()}
            for kind, known in self.about.items()
        }
        for name in ("attacks", "group", "about"):
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_json(cls, text: str, where: str, *, unsealed: bool = False) -> Plan:
        """The plan in `text`; BrokenError when it is damaged or edited, as of a record."""
        try:
            stored = json.loads(text)
            data = {name: value for name, value in stored.items() if name != CHECKSUM}
            cells = tuple(Planned(**{**c, "cell": Cell(**c["cell"])}) for c in data["cells"])
            skips = tuple(Skip(**s) for s in data["skips"])
            if data["format"] != FORMAT or not int(data["images"]) > 0:
                raise ValueError("images")
            for planned in cells:
                planned.cell.plugins()
            told = data.get("attacks", {})
            attacks = {name: Facts.read(facts) for name, facts in told.items()}
            if not isinstance(data.get("group", ""), str):
                raise TypeError("group")
            about = {
                kind: {name: About(*texts) for name, texts in known.items()}
                for kind, known in data.get("about", {}).items()
            }
            read = {"cells": cells, "skips": skips, "attacks": attacks, "about": about}
            plan = cls(**{**data, **read})
        except (*DAMAGED, RecursionError, OverflowError) as error:
            raise BrokenError(f"{where}: not a plan ({type(error).__name__})") from None
        except BenchError as error:
            raise BrokenError(f"{where}: not a plan ({error})") from None
        require_sealed(stored, where, unsealed=unsealed)
        return plan


def shards_of(images: int) -> int:
    """Shards that hold so many images; only the last one may hold fewer than the others."""
    return -(-images // SHARD)
