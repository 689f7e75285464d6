"""`bench verify`: stored or submitted points, checked and scored with fresh randomness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import data_root, weight_files
from bench.cli.stdout import others_to_stderr
from bench.compute import names
from bench.errors import BenchError
from bench.spec import parse_defense

if TYPE_CHECKING:
    from bench.measure.verify import Scored
    from bench.stats import Floats


@click.command("verify")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@data_root
@click.option("--defense", default="", metavar="SPEC", help="Default: the one they were made for.")
@click.option("--dataset", default="", metavar="NAME", help="Default: theirs, else patches.")
@click.option("--subset", default="", metavar="NAME", help="Default: theirs, or the data set's.")
@click.option(
    "--threat", default="", metavar="NORM:EPS", help="Default: theirs, or the data set's."
)
@click.option("--draws", type=int, metavar="M", help="Fresh predictions of each image.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of these predictions.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
@click.option("--chunk", type=int, metavar="N", help="Images per network call.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Your own weight file.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="All points in one file (.safetensors), for bench run --attacks submitted:file=FILE.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def verify_command(
    *,
    paths: tuple[Path, ...],
    defense: str,
    dataset: str,
    subset: str,
    threat: str,
    draws: int | None,
    seed: int,
    device: str,
    chunk: int | None,
    plugins: tuple[str, ...],
    weights: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Score attacked images again: those of bench run --save-adversarial, or your own.

    PATH is a file (.safetensors, .npz, .npy; float32 in [0,1] or uint8) or a folder of them. Shape,
    labels, range and distance of every image are checked first; one that is outside is named, and
    nothing is counted.
    """
    from bench import api
    from bench.files.paths import data_root as root
    from bench.results.store import POINTS, write_whole

    if draws is not None and draws < 1:
        raise BenchError("--draws needs at least 1")
    if out and out.suffix != POINTS:
        raise BenchError(f"--out {out}: points are written as {POINTS}")
    names.spelled(device)
    chunk, own = names.chunk(device, chunk), weight_files(weights)
    with others_to_stderr():
        api.load(plugins)
    _require_words(paths, defense, dataset, subset, threat)

    from bench.compute import device as devices
    from bench.measure import verify
    from bench.measure.worker import Setup

    devices.require("float32", devices.parse(device))
    asked = verify.VerifyRequest(paths, defense, dataset, subset, threat, draws or 0, seed)
    found = verify.claims(asked)
    setup = Setup(device, chunk, 1, plugins, own, str(root().resolve()))
    if out and len(found) > 1:
        raise BenchError(f"--out takes one set of points, these are {len(found)}")
    verify.require_read(found, own)
    if out and out.resolve() in (file.resolve() for file in found[0].files):
        raise BenchError(f"--out {out} is what is scored; name another file")
    if out:
        write_whole(out, verify.gather(found[0]))
    setup.start()
    scored = []
    for claim in found:
        with others_to_stderr():
            scored.append(verify.score(claim, asked, setup))
        if not as_json:
            click.echo(_text(scored[-1]))
    if as_json:
        click.echo(json.dumps([_data(each) for each in scored], indent=1))
    elif out:
        click.echo(f"{out}: {len(found[0].images)} points", err=True)
        click.echo(_how_to_run(scored[0], out))


def _require_words(
    paths: tuple[Path, ...], defense: str, dataset: str, subset: str, threat: str
) -> None:
    """Refuse a word that means nothing and a file that is not there; imports nothing heavy."""
    from bench import api
    from bench.data.subsets import load_subset
    from bench.plan.request import check_defense, defense_groups, find_info, labels
    from bench.threat import Threat

    if dataset:
        find_info(dataset)
    if dataset and subset:
        load_subset(dataset, subset)
    if threat:
        Threat.parse(threat)
    for _, label in labels([defense] if defense else [], defense_groups()):
        if dataset:
            check_defense(label, dataset)
        else:  # the files say of which data set
            for part in parse_defense(label).parts:
                api.find_defense(part.name)
    for path in paths:
        if not path.exists():
            raise BenchError(f"cannot read {path}: there is no such file or folder")


def _figures(scored: Scored) -> dict[str, Floats]:
    found = {"fresh draws": scored.values, "rounded to 8 bits": scored.rounded}
    return found | ({} if scored.recorded is None else {"recorded": scored.recorded})


def _text(scored: Scored) -> str:
    """A heading, a figure per line and what there is to say of them."""
    from bench.cli.options import count
    from bench.report.tables import figure_text
    from bench.stats import mean_interval

    claim = scored.claim
    lines = [
        f"{claim.defense} under {claim.name}, {claim.threat}: {count(len(claim.images), 'image')}, "
        f"{count(scored.draws, 'draw')}"
    ]
    for name, values in _figures(scored).items():
        lines.append(f"  {name:<18} {figure_text(mean_interval(values, scored.block))}")
    return "\n".join([*lines, *(f"  {note}" for note in _notes(scored))])


def _notes(scored: Scored) -> list[str]:
    from bench.boards.flags.single import eight_bits_change
    from bench.cli.options import count

    said = eight_bits_change(scored.coarser.difference)
    notes = [said] if said else []
    moved = scored.moved
    if moved and (moved.difference.low > 0 or moved.difference.high < 0):
        notes.append("fresh draws differ from the record beyond the paired interval")
    if scored.contradicted:
        notes.append(
            f"{count(scored.contradicted, 'image')} judged otherwise than recorded, though the "
            "defense is deterministic: an edited record, other weights, or another device"
        )
    if scored.other_weights:
        notes.append("the record was made with other weights than today's")
    return notes


def _data(scored: Scored) -> dict[str, Any]:
    from bench.boards.analysis import percent
    from bench.stats import mean_interval

    def numbers(values: Floats) -> dict[str, str]:
        found = mean_interval(values, scored.block)
        given = {"measured": found.value, "low": found.low, "high": found.high}
        return {key: percent(value) for key, value in given.items()}

    claim = scored.claim
    return {
        "defense": claim.defense,
        "attack": claim.name,
        "dataset": claim.subset.dataset,
        "subset": claim.subset.name,
        "threat": str(claim.threat),
        "images": len(claim.images),
        "draws": scored.draws,
        "points": {str(path): sha for path, sha in zip(claim.files, claim.sha256, strict=True)},
        "accuracy": {name: numbers(values) for name, values in _figures(scored).items()},
        "notes": _notes(scored),
    }


def _how_to_run(scored: Scored, out: Path) -> str:
    """The line that puts the points on the board, if they are the images that a run scores."""
    import shlex

    from attacks.submitted import NAME
    from bench.results.store import SHARD

    claim = scored.claim
    subset, number = claim.subset, len(claim.images)
    if set(claim.images) != set(subset.index[:number]) or (number % SHARD and number < len(subset)):
        return "a board scores the first images of a subset, in whole shards of 32"
    words = ["bench", "run", "--defense", claim.defense, "--attacks", f"{NAME}:file={out}"]
    words += ["--dataset", subset.dataset, "--subset", subset.name, "--threat", str(claim.threat)]
    return shlex.join([*words, "--images", str(number)])
