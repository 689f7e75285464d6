"""`bench doctor`: what is installed and found here, and how to get what is missing."""

from __future__ import annotations

import json
import os
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import data_root
from bench.models.zoo.entries import WEIGHTS

if TYPE_CHECKING:
    from bench.models.zoo.entries import PublishedFile

PACKAGES = (
    "purifybench",
    "torch",
    "torchvision",
    "numpy",
    "robustbench",
    "pyautoattack",
    "torchattacks",
    "pandas",
    "scikit-image",
    "scikit-learn",
)


@click.command("doctor")
@data_root
@click.option("--dataset", default="", metavar="NAME", help="Only this data set.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead: what is damaged, edited or left over in a folder of results.",
)
def doctor_command(dataset: str, as_json: bool, results: Path | None) -> int:
    """Print versions, device, plug-ins, data sets and weights; exit 2 when something is wrong.

    With --results, exit 1 when a record, a plan or stored points are not what was written.
    """
    if results:
        return _results(results, as_json=as_json)
    from bench import api

    if dataset:
        api.find_dataset(dataset)
    api.import_house()  # what is only declared may be broken
    names = [dataset] if dataset else _embedded()
    problems = [f"plug-in {b.where}: {b.reason}" for b in api.broken()]
    found = {
        **_machine(problems),
        "plugins": {kind: len(api.names(kind)) for kind in ("defense", "attack")},
        "robustbench": _robustbench(problems),
        "datasets": {name: _data_set(name, problems) for name in names},
        "fetched": {} if dataset else _fetched(),
        "problems": problems,
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _print(found)
    return 2 if problems else 0


def _results(root: Path, *, as_json: bool) -> int:
    from bench.results.checkup import complaints

    found = list(complaints(root))
    if as_json:
        click.echo(json.dumps({"results": str(root), "problems": found}, indent=1))
    else:
        click.echo("\n".join(found) if found else f"{root}: all well")
        for points in sorted(root.glob("*/points")):
            click.echo(f"to score its points again: {shlex.join(['bench', 'verify', str(points)])}")
    return 1 if found else 0


def _machine(problems: list[str]) -> dict[str, Any]:

    from bench.files.paths import home

    versions = {name: _version(name) for name in PACKAGES}
    problems += [f"{name} is missing; run: make setup" for name, v in versions.items() if not v]
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "versions": versions,
        "device": ", ".join(_devices()),
        "cores": os.cpu_count(),
        "home": str(home()),
    }


def _devices() -> list[str]:
    """Every accelerator by its name, or the processor."""
    import torch

    cuda = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in cuda]
    return found + ["mps"] * torch.backends.mps.is_available() or ["cpu"]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _robustbench(problems: list[str]) -> bool:
    from bench.errors import BenchError
    from bench.models.zoo import robustbench

    try:
        robustbench.load()
    except BenchError as error:
        problems.append(str(error))
        return False
    return True


def _embedded() -> list[str]:
    from bench import api
    from bench.plan.request import find_info

    return [name for name in api.names("dataset") if find_info(name).embedded]


def _fetched() -> dict[str, bool]:
    """Whether each data set that is fetched is here."""
    from bench.data.sources import SOURCES
    from bench.files.paths import data_root

    return {name: source.present(data_root()) for name, source in SOURCES.items()}


def _data_set(name: str, problems: list[str]) -> dict[str, Any]:
    """What is there of a data set; what is not is added to `problems`."""
    from bench.data.sources import SOURCES
    from bench.data.subsets import load_subset
    from bench.errors import BenchError
    from bench.files.paths import data_root as data_folder
    from bench.measure import build
    from bench.measure.weights_used import known_weights
    from bench.models.zoo.entries import entries, how_to_get
    from bench.models.zoo.weights import find, here, manifest, packaged
    from bench.plan.request import find_info

    info = find_info(name)
    found: dict[str, Any] = {"title": info.title, "threat": info.threat, "weights": {}}
    found["missing"], found["published"] = {}, [_published(entry) for entry in entries(name)]
    try:
        found["test_images"] = len(build.dataset(name).read("test"))
        found["subset"] = load_subset(name, info.subset).name
    except BenchError as error:
        if name in SOURCES and not SOURCES[name].present(data_folder()):
            found["missing"]["images"] = str(error)
        else:
            problems.append(f"{name}: {error}")
    for weight in known_weights(name):
        if not here(name, weight):
            found["missing"][weight] = how_to_get(name, weight)
            if weight in manifest(name):
                problems.append(f"{name}: the package lacks its weights '{weight}'")
            continue
        try:
            file = find(name, weight)
        except BenchError as error:
            problems.append(f"{name}: {error}")
            continue
        found["weights"][weight] = {
            "sha256": file.sha256,
            "from": "package" if file.path.parent == packaged(name) else str(file.path),
            "command": file.metadata.get("command", ""),
            "merit": file.metadata.get("merit", ""),
        }
    return found


def _published(entry: PublishedFile) -> dict[str, Any]:
    """What is known of a published file, and whether its weights came from it here."""
    from bench.models.zoo.weights import SUFFIX, own

    return {
        "name": f"{WEIGHTS}{entry.name}",
        "weights": entry.weights,
        "title": entry.title,
        "how": entry.how,
        "page": entry.page,
        "licence": entry.licence,
        "bytes": entry.bytes or None,
        "sha256": entry.sha256 or None,
        "reported": entry.reported,
        "note": entry.note,
        "here": (own(entry.dataset) / f"{entry.weights}{SUFFIX}").is_file(),
    }


def _print(found: dict[str, Any]) -> None:
    versions = [f"{name} {v or 'missing'}" for name, v in found["versions"].items()]
    click.echo(f"python {found['python']}")
    for start in range(0, len(versions), 5):
        click.echo("  ".join(versions[start : start + 5]))
    click.echo(f"device {found['device']}, {found['cores']} cores")
    kinds = ", ".join(f"{number} {kind}s" for kind, number in found["plugins"].items())
    click.echo(f"plug-ins: {kinds}; robustbench imports: {'yes' if found['robustbench'] else 'no'}")
    click.echo(f"own weights are looked for in {found['home']}")
    for name, data in found["datasets"].items():
        images = data.get("test_images", "no")
        click.echo(f"{name}: {data['title']}; {images} test images, {data['threat']}")
        for weight, file in data["weights"].items():
            line = f"{weight:<14} {file['sha256'][:12]}  {file['from']:<8} {file['command']}"
            click.echo(f"  {line.rstrip()}")
        for weight, how in data["missing"].items():
            click.echo(f"  {weight:<14} missing; {how}")
        for entry in data["published"]:
            _print_published(entry)
    for name, here in found["fetched"].items():
        click.echo(f"{name}: {'here' if here else f'not here (bench fetch {name})'}")
    for problem in found["problems"]:
        click.echo(f"problem: {problem}", err=True)
    count = len(found["problems"])
    click.echo("all well" if not count else f"{count} problem{'s' if count > 1 else ''}")


def _print_published(entry: dict[str, Any]) -> None:
    size = f"{entry['bytes'] / 1e6:,.0f} MB" if entry["bytes"] else "size not publicly known"
    vouched = "checksum known" if entry["sha256"] else "checksum not publicly known"
    click.echo(f"  {entry['name']} -> {entry['weights']}: {entry['title']}")
    click.echo(f"    {entry['page']}; licence: {entry['licence']}; {size}; {vouched}")
    for key in ("reported", "note"):
        if entry[key]:
            click.echo(f"    {key}: {entry[key]}")
