"""What is published: an entry per file, as data (`published.toml`); how to get missing weights.

Nothing here reads or fetches weights; `bench.models.zoo.published` does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bench.api import compact
from bench.errors import plain, unknown

Part = Literal["", "raw", "ema"]
WEIGHTS = "weights/"
"""What the names of entries begin with in `bench fetch`."""
WAYS: list[Callable[[str, str], str]] = []
"""Asked for further ways to weights of a name on a data set: a text, or nothing."""


@dataclass(frozen=True)
class PublishedFile:
    """A published file and what becomes of it.

    dataset, weights: under which name it is used here. page: where its publishers offer it; urls:
    where it answers without a browser. bytes and sha256 of the file are 0 and empty where they are
    not publicly known. network, arguments: what it must hold; without a network, tensors that
    belong to a classifier (AID-Purifier's discriminators). normalisation: a name of NORMALISATIONS,
    where it is not the usual one of that network on that data set. part: raw or averaged weights.
    reported: somebody's figure, with its source.
    """

    name: str
    dataset: str
    weights: str
    title: str
    page: str
    licence: str
    file: str
    urls: tuple[str, ...] = ()
    bytes: int = 0
    sha256: str = ""
    network: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    normalisation: str = ""
    part: Part = ""
    reported: str = ""
    note: str = ""

    @property
    def how(self) -> str:
        """The command that fetches it, and where to get the file first if that takes a browser."""
        command = f"bench fetch {WEIGHTS}{self.name}"
        return command if self.urls else f"{command} --from FILE (from {self.page})"


@cache
def _all() -> dict[str, PublishedFile]:
    content = files("bench.models.zoo").joinpath("published.toml").read_text(encoding="utf-8")
    return {
        name: PublishedFile(name, **{**facts, "urls": tuple(facts.get("urls", ()))})
        for name, facts in tomllib.loads(content).items()
    }


def entries(dataset: str = "") -> list[PublishedFile]:
    """Every entry, or those of one data set."""
    return [entry for entry in _all().values() if dataset in ("", entry.dataset)]


def find(name: str) -> PublishedFile:
    """The entry of that name, with or without `weights/`; BenchError for another one."""
    plain = name.removeprefix(WEIGHTS)
    if plain not in _all():
        raise unknown("published weights", plain, _all())
    return _all()[plain]


def offered(dataset: str, weights: str) -> list[PublishedFile]:
    """The entries that would give weights of that name."""
    return [entry for entry in entries(dataset) if entry.weights == weights]


def how_to_get(dataset: str, weights: str, spec: str = "") -> str:
    """How missing weights are got: fetched, trained, or else given as a file.

    spec: what `bench train` calls them, where that is not their name.
    """
    fetch = [entry.how for entry in offered(dataset, weights)]
    ways = [f"fetch them: {'; or '.join(fetch)}"] if fetch else []
    ways += [way for asked in WAYS if (way := asked(spec or weights, dataset))]
    small = compact(dataset)
    if small and (ways or any(asked(spec or weights, small) for asked in WAYS)):
        ways.append(f"take compact networks: --dataset {small}")
    return "; or ".join(ways) or f"give the file: --weights {plain(weights)}=FILE"
