"""`bench doctor`: what is installed and found here, and how to get what is missing."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from bench.cli.data_root import data_root

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
def doctor_command(dataset: str, as_json: bool) -> int:
    """Print versions, device, plug-ins, data sets and weights; exit 2 when something is wrong."""
    from bench import registry

    names = [registry.find_dataset(dataset).name] if dataset else _embedded()
    problems = [f"plug-in {b.where}: {b.reason}" for b in registry.broken()]
    found = {
        **_machine(problems),
        "plugins": {kind: len(registry.names(kind)) for kind in ("defense", "attack")},
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


def _machine(problems: list[str]) -> dict[str, Any]:
    import torch

    from bench.home import home

    versions = {name: _version(name) for name in PACKAGES}
    problems += [f"{name} is missing; run: make setup" for name, v in versions.items() if not v]
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "versions": versions,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cores": os.cpu_count(),
        "home": str(home()),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _robustbench(problems: list[str]) -> bool:
    from bench.errors import BenchError
    from bench.zoo import robustbench

    try:
        robustbench.load()
    except BenchError as error:
        problems.append(str(error))
        return False
    return True


def _embedded() -> list[str]:
    from bench import registry
    from bench.plan import find_info

    return [name for name in registry.names("dataset") if find_info(name).embedded]


def _fetched() -> dict[str, bool]:
    """Whether each data set that is fetched is here."""
    from bench.data.sources import SOURCES
    from bench.home import data_root

    return {name: source.present(data_root()) for name, source in SOURCES.items()}


def _data_set(name: str, problems: list[str]) -> dict[str, Any]:
    """What is there of a data set; what is not is added to `problems`."""
    from bench import build
    from bench.data.subsets import load_subset
    from bench.errors import BenchError
    from bench.inventory import known_weights
    from bench.plan import find_info
    from bench.zoo.weights import find, packaged

    info = find_info(name)
    found: dict[str, Any] = {"title": info.title, "threat": info.threat, "weights": {}}
    try:
        found["test_images"] = len(build.dataset(name).read("test"))
        found["subset"] = load_subset(name, info.subset).name
    except BenchError as error:
        problems.append(f"{name}: {error}")
    for weight in known_weights(name):
        try:
            file = find(name, weight)
        except BenchError as error:
            problems.append(f"{name}: {error}")
            continue
        found["weights"][weight] = {
            "sha256": file.sha256,
            "from": "package" if file.path.parent == packaged(name) else str(file.path),
            "command": file.metadata.get("command", ""),
        }
    return found


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
    for name, here in found["fetched"].items():
        click.echo(f"{name}: {'here' if here else f'not here (bench fetch {name})'}")
    for problem in found["problems"]:
        click.echo(f"problem: {problem}", err=True)
    count = len(found["problems"])
    click.echo("all well" if not count else f"{count} problem{'s' if count > 1 else ''}")
