"""What a row's card says besides its figures, which are the tidy rows of the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.boards.analysis import Analysis, percent
from bench.boards.board import Board, Row
from bench.boards.flags import Flag
from bench.errors import BenchError
from bench.report.details import resolved, software
from bench.results.archive import CONDITIONS
from bench.results.store import SHARD
from bench.spec import DefenseSpec, Part, parse_defense, show

SLACK = 2
"""Images by which one shard may differ between processors."""


def classifier(row: Row) -> str:
    """The classifier's name as it was typed, of a row whose name can be read; else empty."""
    spec = _parsed(row.asked)
    return str(spec.classifier) if spec else ""


def card(analysis: Analysis, row: Row, flags: Iterable[Flag]) -> dict[str, Any]:
    """Settings, worst case, flags, seeds, versions and the command of one row, ready for JSON.

    settings: of each part its (key, value). share: (attack, percent of the images for which it was
    the worst). attacks: resolved settings by column.
    """
    worst = analysis.worst.get(row.label)
    records = row.records
    shares = sorted(worst.share.items(), key=lambda pair: -pair[1]) if worst else []
    return {
        "asked": row.asked,
        "kind": row.kind,
        "settings": _settings(row.settings),
        "missing": list(worst.missing) if worst else [],
        "share": [[name, percent(share)] for name, share in shares if share],
        "flags": [[flag.kind, flag.attack, flag.text] for flag in flags],
        "attacks": {name: resolved(entry) for name, entry in row.entries.items()},
        "seeds": sorted({seed for e in row.complete().values() for seed in e.seeds}),
        "versions": sorted({v for r in records for v in r.cell.versions.split(",")}),
        "software": sorted({software(record) for record in records}),
        "weights": sorted({f"{n} {s[:12]}" for r in records for n, s in r.weights.items()}),
        "conditions": sorted(
            {str(r.timing[key]) for r in records for key in CONDITIONS if key in r.timing}
        ),
        "command": command(analysis.board, row),
        "check": check(analysis.board, row),
    }


def command(board: Board, row: Row) -> str:
    """The line that measures a row's cells again; nothing where no attack was asked of it."""
    if not row.entries:
        return ""
    seeds = {seed for entry in row.entries.values() for seed in entry.seeds}
    more = ["--seeds", str(max(seeds) + 1)] if len(seeds) > 1 else []
    return _run(board, row, list(row.entries), board.images, more)


def check(board: Board, row: Row) -> dict[str, str]:
    """A line that measures one shard of a row under its strongest attack, and what it should give.

    expected: from and to, in percent: what the record of that shard says, `SLACK` images more or
    less, since processors round differently. minutes: on one core, where that was measured.
    Nothing where no attack within the ball has a number.
    """
    attacks = row.complete(board.threat).values()
    strongest = min(attacks, key=lambda entry: entry.figure.value, default=None)
    if strongest is None:
        return {}
    images = min(SHARD, board.images)
    there = float(strongest.by_seed[min(strongest.by_seed)][:images].mean())
    low, high = (percent(min(1, max(0, there + n * SLACK / images))) for n in (-1, 1))
    spent = strongest.cost.seconds
    return {
        "command": _run(board, row, [strongest.attack], images, ["--results", "check"]),
        "attack": strongest.attack,
        "images": str(images),
        "low": low,
        "high": high,
        "minutes": "" if spent is None else f"{spent * images / 60:.1f}",
    }


def _run(board: Board, row: Row, attacks: Sequence[str], images: int, more: Sequence[str]) -> str:
    """Settings that were typed are in the names. What is measured beside the row is not named."""
    words = ["bench", "run", "--defense", row.asked, "--attacks", ",".join(attacks)]
    words += ["--dataset", board.dataset, "--subset", board.subset, "--threat", board.threat]
    words += ["--preset", board.preset, "--images", str(images), *more]
    return shlex.join([*words, "--control", "off"])


def shared(cards: Mapping[str, dict[str, Any]], fields: Sequence[str]) -> list[Any]:
    """Take what many cards say alike out of them: the texts, of which the cards keep the places."""
    known: dict[str, int] = {}
    for found in cards.values():
        for name in fields:
            value = found[name]
            if isinstance(value, Mapping):
                found[name] = {k: known.setdefault(v, len(known)) for k, v in value.items()}
            else:
                found[name] = [known.setdefault(text, len(known)) for text in value]
    return list(known)


def _settings(text: str) -> list[list[Any]]:
    """(part, [(key, value)]) of a resolved defense; its whole text where it cannot be read."""
    spec = _parsed(text)
    if spec is None:
        return [[text, []]]
    name, pairs = _part(spec.classifier)
    return [*map(_part, spec.parts), [f"classifier {name}", pairs]]


def _part(part: Part) -> list[Any]:
    return [part.name, [[key, show(value)] for key, value in part.settings]]


def _parsed(text: str) -> DefenseSpec | None:
    try:
        return parse_defense(text)
    except BenchError:
        return None
