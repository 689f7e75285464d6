"""`bench plan`: what a run would do, without doing it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import click

from bench.cli.options import count, request, shared
from bench.results import SHARD


@click.command("plan")
@shared
@click.option("--json", "as_json", is_flag=True, help="Cells and skips as JSON.")
def plan_command(plugins: tuple[str, ...], as_json: bool, shard: str, **asked: Any) -> None:
    """Print the cells of a run, the skips with their reasons, and the network calls."""
    from tabulate import tabulate

    from bench import plan, registry
    from bench.slices import Slice

    part = Slice.parse(shard)
    registry.load(plugins)
    made, draft = plan.make(request(**asked, plugins=plugins))
    pairs = list(zip(made.cells, draft.costs, strict=True))
    mine = part.of(made, draft.costs)
    shards = Counter(digest for digest, _ in mine)
    if shard:
        draft.notes.append(part.note(made, mine))
    if as_json:
        cells = [
            {
                **asdict(planned.cell),
                "defense": planned.defense,
                "attack": planned.attack,
                "control": planned.control,
                "digest": planned.cell.digest,
                "shards": sorted(n for digest, n in mine if digest == planned.cell.digest),
                "resolved_defense": planned.cell.defense,
                "resolved_attack": planned.cell.attack,
                "network_calls": {
                    "forward": round(cost.forward * made.images),
                    "luck": round(cost.luck * made.images),
                    "backward": round(cost.backward * made.images),
                },
            }
            for planned, cost in pairs
        ]
        facts = {
            "dataset": made.dataset,
            "subset": made.subset,
            "threat": made.threat,
            "preset": made.preset,
            "images": made.images,
            "notes": draft.notes,
        }
        skips = [asdict(skip) for skip in made.skips]
        click.echo(json.dumps({**facts, "cells": cells, "skips": skips}, indent=1))
        return
    for note in draft.notes:
        click.echo(note)
    rows = [
        (
            planned.defense + (" (control)" if planned.control else ""),
            planned.attack,
            planned.cell.seed,
            f"{cost.forward:,.0f}",
            f"{cost.backward:,.0f}",
        )
        for planned, cost in pairs
    ]
    head = ("defense", "attack", "seed", "forwards/image", "backwards/image")
    click.echo(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
    for skip in made.skips:
        click.echo(f"skip: {skip.attack} against {skip.defense}: {skip.reason}")
    total = sum(cost.total * SHARD * shards[planned.cell.digest] for planned, cost in pairs)
    click.echo(
        f"{made.dataset} {made.threat}, preset {made.preset}: {count(len(made.cells), 'cell')}, "
        f"{len(made.skips)} skipped, {made.images} images, {total:,.0f} network calls"
    )
