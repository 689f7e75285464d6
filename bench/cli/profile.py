"""`bench profile`: images per second and memory of a defense, from random weights."""

from __future__ import annotations

import json
from typing import Any

import click

from bench.cli.stdout import others_to_stderr
from bench.compute.names import spelled
from bench.results.store import SHARD


@click.command("profile")
@click.argument("defenses", nargs=-1, required=True, metavar="SPEC...")
@click.option("--dataset", default="patches", show_default=True, metavar="NAME")
@click.option("--images", default=2, show_default=True, help="Of one purification and one step.")
@click.option("--chunk", default=SHARD, show_default=True, help="At most, per network call.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
def profile_command(
    defenses: tuple[str, ...],
    *,
    dataset: str,
    images: int,
    chunk: int,
    device: str,
    as_json: bool,
    plugins: tuple[str, ...],
) -> None:
    """Time the networks of a defense, one purification, one bpda-eot and one exact step.

    Networks are those of the data set in class and size, their weights random: neither data nor
    weights are read.
    """
    from bench import api
    from bench.errors import BenchError
    from bench.plan.request import check_defense, find_info
    from bench.spec import split_list

    if images < 1 or chunk < 1:
        raise BenchError("--images and --chunk need at least 1")
    with others_to_stderr():
        api.load(plugins)
    for spec in split_list(defenses):
        check_defense(spec, find_info(dataset).name)

    spelled(device)

    import torch
    from tabulate import tabulate

    from bench.compute import device as devices
    from bench.estimate import plan_cost, profile

    torch.set_num_threads(1)
    device = devices.parse(device)[0]
    devices.prepare(device)
    found: dict[str, Any] = {"dataset": dataset, "device": plan_cost.describe(device)}
    found["defenses"] = {
        spec: profile.whole(spec, dataset, device, images, chunk) for spec in split_list(defenses)
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for spec, measured in found["defenses"].items():
        head = ("", "images", "images/s", "s/image", "memory")
        rows = [
            (name, row["images"], *_figures(row["seconds"], row["bytes"]))
            for name, row in measured.items()
        ]
        click.echo(f"{spec} on {dataset}, {found['device']}")
        click.echo(tabulate(rows, head, tablefmt="simple", disable_numparse=True))


def _figures(seconds: float, size: int) -> tuple[str, str, str]:
    return f"{1 / seconds:,.3g}", f"{seconds:,.3g}", f"{size / 2**20:,.1f} MB"
