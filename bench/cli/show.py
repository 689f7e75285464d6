"""`bench show`: pictures. Those of stored results never import torch."""

from __future__ import annotations

import click

from bench.cli.group import LazyGroup

STORED = {
    "curve": "Accuracy against a setting: steps, runs, EOT, sigma, eps, lambda.",
    "certified": "Certified accuracy against the radius.",
    "corruptions": "Accuracy against the severity of corruptions.",
    "cost": "Worst case against network calls.",
}
LIVE = {
    "images": "An image clean, attacked and after every step of purification.",
    "scores": "Score norms of natural, attacked and purified images.",
    "trajectory": "The way of attacked images through the classifier's features.",
    "regions": "Where the classifier is right around one image under several attacks.",
    "information": "Mutual information of a classifier's maps, clean and attacked.",
}


class Pictures(LazyGroup):
    """A picture each."""

    commands_known = STORED | LIVE
    kind = "picture"

    def module(self, name: str) -> str:
        """By what the picture is made from."""
        return "bench.cli.show_stored" if name in STORED else "bench.cli.show_live"


@click.group("show", cls=Pictures)
def show_command() -> None:
    """Draw a picture, PNG or SVG by the suffix of --out.

    The first four are made from stored results, with the numbers of the board; the others
    attack and purify images with the seeds of a run.
    """
