"""The commands of `bench`, each imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from bench.errors import BenchError, nearest
from bench.models.zoo.entries import WAYS

COMMANDS = {
    "run": "Measure defenses against attacks; resumes what is unfinished.",
    "plan": "What a run would do and cost: cells, skips, network calls, memory, hours.",
    "profile": "Images per second and memory of a defense, from random weights.",
    "verify": "Stored or submitted attacked images, checked and scored again.",
    "merge": "One folder of results from those of several machines.",
    "table": "Leaderboards from stored results, as Markdown and CSV.",
    "show": "Pictures, PNG or SVG: images on their way, curves, costs, score norms.",
    "list": "Defenses, attacks, classifiers or data sets.",
    "train": "Train every network that a defense needs.",
    "fetch": "Data sets and published weights from the network, or from files you have.",
    "check": "The contract that every plug-in must meet.",
    "doctor": "Versions, device, data and weights found.",
}


def by_training(weights: str, dataset: str) -> str:
    """How `bench train` makes weights, where it knows them; else nothing."""
    from bench.api import find_dataset
    from bench.api.code import asked_with
    from bench.api.training import TRAINED
    from bench.training.needs import needed

    try:
        known = needed([weights], dataset)
    except BenchError:
        return ""
    if all(weights not in (need.name, need.spec) for need in known):
        return ""  # what is trained under that name here is the network of another name
    more = asked_with(find_dataset(dataset).factory, *filter(None, [TRAINED.get(weights)]))
    return f"train them: bench train {weights} --dataset {dataset}{more}"


WAYS.append(by_training)


class LazyGroup(click.Group):
    """Imports a subcommand's module only when that subcommand is asked for."""

    commands_known: Mapping[str, str] = COMMANDS
    """Name -> what it does, in the order of a user's day."""
    kind = "command"

    def module(self, name: str) -> str:
        """Where `NAME_command` stands."""
        return f"bench.cli.{name}"

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in their order."""
        return list(self.commands_known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or a usage error with the nearest name."""
        known = self.commands_known
        if cmd_name not in known:
            hint = nearest(cmd_name, known) or f" ({self.kind}s: {', '.join(known)})"
            raise BenchError(f"unknown {self.kind} '{cmd_name}'{hint}")
        command = getattr(importlib.import_module(self.module(cmd_name)), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help texts above, without importing anything."""
        with formatter.section(f"{self.kind.capitalize()}s"):
            formatter.write_dl(list(self.commands_known.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="purifybench")
def cli() -> None:
    """PurifyBench: does an adversarial-purification defense really work?"""


def invoke() -> int:
    """Run the command line; the exit code.

    A user's mistake is one line and 2.
    """
    try:
        code = cli(standalone_mode=False)
    except click.Abort as stopped:
        said = stopped.__cause__.args if isinstance(stopped.__cause__, KeyboardInterrupt) else ()
        raise KeyboardInterrupt(*said) from None
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        raise BenchError(error.format_message()) from None
    return code if isinstance(code, int) else 0
