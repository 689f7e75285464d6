"""Equal parts of a plan's work, one for each job of an array; decided by the plan alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError, plain

if TYPE_CHECKING:
    from bench.plan.cost import Cost
    from bench.results.store import Plan

Unit = tuple[str, int]
"""A cell's digest and a shard of it."""
PART = re.compile(r"[0-9]{1,9}")
"""The number of a part."""


@dataclass(frozen=True)
class Slice:
    """Part `index` (from 1) of `count`. What is finished moves nothing from one part to another."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Slice:
        """`2/8`, the second of eight; an empty text is all of it.

        Raises:
            BenchError: not of that form, or a part that does not exist.
        """
        if not text:
            return cls()
        index, slash, count = text.partition("/")
        if not slash or not all(map(PART.fullmatch, (index, count))):
            raise BenchError(
                f"--shard '{plain(text)}' is not I/N (such as 2/8, the second of eight)"
            )
        if not 1 <= int(index) <= int(count):
            raise BenchError(f"--shard '{text}': parts count from 1 to {int(count)}")
        return cls(int(index), int(count))

    def of(self, plan: Plan, costs: Sequence[Cost]) -> list[Unit]:
        """The shards of this part, dealt like cards, the longest first.

        Parts differ in network calls by at most one shard of the most expensive cell.
        """
        longest = sorted(zip(plan.cells, costs, strict=True), key=lambda pair: -pair[1].total)
        work = [(planned.cell.digest, n) for planned, _ in longest for n in range(plan.shards)]
        return work[self.index - 1 :: self.count]

    def note(self, plan: Plan, mine: Sequence[Unit]) -> str:
        """What a command says of it."""
        whole = len(plan.cells) * plan.shards
        return f"part {self.index} of {self.count}: {len(mine)} of {whole} shards"
