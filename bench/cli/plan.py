"""`bench plan`: what a run would do and cost, without doing it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bench.cli import schedule
from bench.cli.options import checked, count, paper_alone, shared, typed
from bench.cli.stdout import others_to_stderr
from bench.compute import names
from bench.results.store import SHARD, Plan, Planned

if TYPE_CHECKING:
    from bench.estimate.plan_cost import Outlook
    from bench.plan.cost import Cost
    from bench.plan.plan import Draft
    from bench.plan.slices import Slice

MEMORY = (
    "memory: parameters of all networks and the largest peak of one network call, by its tensors"
)


Shards = dict[str, list[int]]
"""Cell's digest -> the numbers of its shards in the part that was asked for."""


@click.command("plan")
@shared
@click.option("--chunk", type=int, metavar="N", help="Images per network call, as in bench run.")
@click.option("--time", "timed", is_flag=True, help="Hours, from random networks on --device.")
@click.option(
    "--device", default="cpu", show_default=True, metavar="NAME", help="Of --time and --chunk."
)
@schedule.simulated
@click.option("--json", "as_json", is_flag=True, help="Cells, skips and costs as JSON.")
def plan_command(
    *,
    plugins: tuple[str, ...],
    shard: str,
    chunk: int | None,
    timed: bool,
    device: str,
    workers: str,
    rate: float,
    start_up: float,
    lost: float,
    as_json: bool,
    paper: str,
    number: str,
    **asked: Any,
) -> None:
    """Print the cells of a run, the skips with their reasons, and what it costs.

    Network calls are those that the records will count, or at most those; memory and hours are
    estimates. Reads neither images nor weights. --workers simulates the order of work.
    """
    from bench.plan.slices import Slice

    fleet = schedule.Workforce(schedule.numbers(workers), rate, start_up, lost)
    if paper or number:
        from bench.cli.papers import price

        paper_alone()
        price(paper, number, typed("dataset"), typed("preset"), fleet, as_json=as_json)
        return

    part = Slice.parse(shard)
    wanted = checked(plugins, **asked, plugins=plugins)
    if timed:
        names.spelled(device)
    if chunk is not None:
        names.chunk(device, chunk)

    from bench.compute import device as devices
    from bench.estimate import plan_cost
    from bench.plan import networks, plan

    places = devices.parse(device) if timed else (device,)  # without hours, any machine's
    chunk = names.chunk(places[0], chunk)
    with others_to_stderr():
        plans = [plan.make(each) for each in wanted]
        ran = [networks.chosen(each)[0].dataset for each in wanted]
    data, runs = [], []
    for (made, draft), dataset in zip(plans, ran, strict=True):
        if dataset != made.dataset:
            draft.notes.append(f"no weights for this are here: bench run takes {dataset} instead")
        mine = _part(part, made, draft)
        with others_to_stderr():
            found = plan_cost.look(made, draft.costs, chunk, places[0] if timed else "")
        draft.notes += found.notes
        if fleet.workers:
            runs.append(fleet.run(made, draft.costs, found.cells, mine))
        if as_json:
            data.append(_json(made, draft, found, mine))
        else:
            _print(made, draft, found, mine)
    if as_json:
        for each in data if runs else ():
            each["schedule"] = fleet.rows(runs)
        click.echo(json.dumps(data if len(data) > 1 else data[0], indent=1))
    elif runs:
        click.echo(fleet.text(runs, timed=timed))


def _part(part: Slice, made: Plan, draft: Draft) -> Shards:
    """The shards of each cell that are of the part; a note where that is not all."""
    units = part.of(made, draft.costs)
    mine: Shards = {planned.cell.digest: [] for planned in made.cells}
    for digest, place in sorted(units):
        mine[digest].append(place)
    if part.count > 1:
        draft.notes.append(part.note(made, units))
    return mine


def _json(made: Plan, draft: Draft, found: Outlook, mine: Shards) -> dict[str, Any]:
    facts = {
        "dataset": made.dataset,
        "subset": made.subset,
        "threat": made.threat,
        "preset": made.preset,
        "images": made.images,
        "notes": draft.notes,
        "memory": MEMORY,
    }
    if found.device:
        hours = found.hours(_shares(made, mine))
        facts |= {"device": found.device, "hours": hours, "timed": found.timed()}
    cells = [
        {**_cell(planned, cost, made.images, found), "shards": mine[planned.cell.digest]}
        for planned, cost in zip(made.cells, draft.costs, strict=True)
    ]
    skips, absent = ([skip.told() for skip in some] for some in (made.skips, draft.absent))
    return {**facts, "cells": cells, "skips": skips, "absent": absent}


def _shares(made: Plan, mine: Shards) -> dict[str, float]:
    """Of each cell: which share of its images the part holds; a last shard may be short."""
    return {
        digest: sum(min(SHARD, made.images - SHARD * n) for n in numbers) / made.images
        for digest, numbers in mine.items()
    }


def _cell(planned: Planned, cost: Cost, images: int, found: Outlook) -> dict[str, Any]:
    entry = {
        **asdict(planned.cell),
        "defense": planned.defense,
        "attack": planned.attack,
        "control": planned.control,
        "digest": planned.cell.digest,
        "resolved_defense": planned.cell.defense,
        "resolved_attack": planned.cell.attack,
        "calls_per_image": {
            name: {"forward": forward, "backward": backward}
            for name, (forward, backward) in cost.networks.items()
        },
        "network_calls": {
            "forward": round(cost.forward * images),
            "luck": round(cost.unlucky * images),
            "backward": round(cost.backward * images),
        },
        "memory_bytes": found.memory.get(planned.cell.digest),
    }
    if found.device:
        entry["hours"] = found.cells.get(planned.cell.digest)
    return entry


def _print(made: Plan, draft: Draft, found: Outlook, mine: Shards) -> None:
    from tabulate import tabulate

    pairs = list(zip(made.cells, draft.costs, strict=True))
    for note in draft.notes:
        click.echo(note)
    head = ["defense", "attack", "seed", "forwards/image", "backwards/image", "memory"]
    head += ["hours"] if found.device else []
    rows = [_row(planned, cost, found) for planned, cost in pairs]
    head.append("by network")
    click.echo(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
    for skip in made.skips:
        click.echo(f"skip: {skip.attack} against {skip.defense}: {skip.reason}")
    for attack, reason in {skip.attack: skip.reason for skip in draft.absent}.items():
        click.echo(f"not on this machine: {attack}: {reason}")
    shares = _shares(made, mine)
    total = sum(cost.total * made.images * shares[p.cell.digest] for p, cost in pairs)
    click.echo(
        f"{made.dataset} {made.threat}, preset {made.preset}: {count(len(made.cells), 'cell')}, "
        f"{len(made.skips)} skipped, {made.images} images, {total:,.0f} network calls"
    )
    click.echo(MEMORY)
    if found.device:
        click.echo(f"{found.hours(shares):,.2f} hours on {found.device}")


def _row(planned: Planned, cost: Cost, found: Outlook) -> list[Any]:
    digest = planned.cell.digest
    memory, hours = found.memory.get(digest), found.cells.get(digest)
    row = [
        planned.defense + (" (control)" if planned.control else ""),
        planned.attack,
        planned.cell.seed,
        f"{cost.forward:,.0f}",
        f"{cost.backward:,.0f}",
        "" if memory is None else f"{memory / 2**20:,.0f} MB",
    ]
    if found.device:
        row.append("" if hours is None else f"{hours:,.2f}")
    ways = (
        f"{name} {forward:,.0f}+{backward:,.0f}"
        for name, (forward, backward) in cost.networks.items()
    )
    return [*row, ", ".join(ways)]
