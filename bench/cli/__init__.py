"""The command `bench`: one small file per subcommand, imported when it is used."""

from __future__ import annotations

import importlib
import os
import sys

import click

from bench.errors import BenchError, nearest

COMMANDS = {
    "run": "Measure defenses against attacks; resumes what is unfinished.",
    "plan": "What a run would do: cells, skips with reasons, network calls.",
    "table": "Leaderboards from stored results, as Markdown and CSV.",
    "list": "Defenses, attacks, classifiers or data sets.",
    "train": "Train every network that a defense needs.",
    "check": "The contract that every plug-in must meet.",
    "doctor": "Versions, device, data and weights found.",
}


class LazyGroup(click.Group):
    """Imports a subcommand's module only when that subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or a usage error with the nearest name."""
        if cmd_name not in COMMANDS:
            hint = nearest(cmd_name, COMMANDS) or f" (commands: {', '.join(COMMANDS)})"
            raise BenchError(f"unknown command '{cmd_name}'{hint}")
        command = getattr(importlib.import_module(f"bench.cli.{cmd_name}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help texts above, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="purifybench")
def cli() -> None:
    """PurifyBench: does an adversarial-purification defense really work?"""


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, Ctrl-C is 130."""
    try:
        code = cli(standalone_mode=False)
    except (BenchError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        _fail(" ".join(text.split()), 2)
    except (KeyboardInterrupt, click.Abort):
        _fail("stopped; finished shards are kept, the same command continues", 130)
    except Exception as error:
        if os.environ.get("BENCH_DEBUG"):
            raise
        text = " ".join(str(error).split())
        _fail(f"{type(error).__name__}: {text} (BENCH_DEBUG=1 shows where)", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, code: int) -> None:
    click.echo(f"bench: {text}", err=True)
    sys.exit(code)
