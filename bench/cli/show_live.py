"""`bench show images|scores|trajectory|regions|information`: what a run does to images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import PICTURE, F, add, data_root, results, weight_files
from bench.compute import names
from bench.errors import require_suffix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.measure.worker import Setup
    from bench.walkthrough.walk import Wanted

OPTIONS = (
    click.option(
        "--defense",
        "defenses",
        multiple=True,
        required=True,
        metavar="SPEC",
        help="adp, adp:sigma=0.1@madry ...; repeat or use commas.",
    ),
    click.option("--dataset", default="patches", show_default=True, metavar="NAME"),
    click.option("--threat", default="", metavar="NORM:EPS", help="Default: the data set's."),
    click.option("--subset", default="", metavar="NAME", help="Default: the data set's."),
    click.option(
        "--preset",
        default="standard",
        show_default=True,
        metavar="NAME",
        help="How much of the attack: quick, standard, paper.",
    ),
    click.option("--seed", default=0, show_default=True, metavar="N", help="Of the attack."),
    results("Where bench run --save-adversarial may have stored the attacked images."),
    PICTURE,
    click.option("--device", default="cpu", show_default=True, metavar="NAME"),
    click.option("--chunk", type=int, metavar="N", help="Images per network call."),
    click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in."),
    click.option("--weights", multiple=True, metavar="NAME=PATH", help="Your own weight file."),
)
ATTACK = click.option(
    "--attack",
    required=True,
    metavar="SPEC",
    help="One attack; submitted:file=PATH for points of your own.",
)


def live(function: F) -> F:
    """Add the options that every picture of warm defenses has."""
    return add(data_root(function), OPTIONS)


ATTACKS = click.option(
    "--attack", "attacks", multiple=True, required=True, metavar="SPEC", help="One or several."
)
INDEX = click.option(
    "--index", default=0, show_default=True, metavar="N", help="Place in the subset."
)


@click.command("images")
@ATTACK
@INDEX
@click.option("--frames", default=6, show_default=True, metavar="N", help="Steps shown, at most.")
@live
def images_command(attack: str, index: int, frames: int, **asked: Any) -> None:
    """An image clean, attacked and on its way through each defense.

    The attack is that of a run on all images of its shard, and so are the random numbers of the
    purification: the judge's first prediction.
    """

    def make(wanted: Wanted, setup: Setup) -> Figure:
        from bench.report.figures.strips import strips
        from bench.walkthrough.strips import strips as found

        return strips(found(wanted, index, frames, setup, _say))

    _draw((attack,), asked, make)


@click.command("scores")
@click.option(
    "--attack", "attacks", multiple=True, required=True, metavar="SPEC", help="A panel each."
)
@click.option("--images", default=64, show_default=True, metavar="N", help="Of the subset.")
@click.option(
    "--after",
    default=0,
    metavar="N",
    help="Steps of purification, added noise included; default: all.",
)
@live
def scores_command(attacks: tuple[str, ...], images: int, after: int, **asked: Any) -> None:
    """Norms of the score at natural, attacked and purified images, as histograms."""

    def make(wanted: Wanted, setup: Setup) -> Figure:
        from bench.report.figures.histograms import histograms
        from bench.walkthrough.scores import score_norms

        return histograms(score_norms(wanted, images, after, setup, _say))

    _draw(attacks, asked, make)


@click.command("trajectory")
@ATTACK
@click.option("--images", default=32, show_default=True, metavar="N", help="Of the subset.")
@live
def trajectory_command(attack: str, images: int, **asked: Any) -> None:
    """Attacked images and every step of their purification in a plane of features (t-SNE)."""

    def make(wanted: Wanted, setup: Setup) -> Figure:
        from bench.report.figures.plane import plane
        from bench.walkthrough.trajectory import trajectories

        return plane(trajectories(wanted, images, setup, _say))

    _draw((attack,), asked, make)


@click.command("regions")
@ATTACKS
@INDEX
@live
def regions_command(attacks: tuple[str, ...], index: int, **asked: Any) -> None:
    """One image under each attack and every step of its way back, in a plane (t-SNE).

    Colours say whether the classifier alone is right at the nearest point: by pixels on the left,
    by the classifier's features on the right.
    """

    def make(wanted: Wanted, setup: Setup) -> Figure:
        from bench.report.figures.regions import regions
        from bench.walkthrough.regions import regions as found

        return regions(found(wanted, index, setup, _say))

    _draw(attacks, asked, make)


@click.command("information")
@ATTACKS
@click.option("--images", default=512, show_default=True, metavar="N", help="Of the subset.")
@live
def information_command(attacks: tuple[str, ...], images: int, **asked: Any) -> None:
    """Mutual information of a classifier's first and last map, at clean and attacked images.

    A lower bound by a network that is trained on half of the images and judged on the other.
    """

    def make(wanted: Wanted, setup: Setup) -> Figure:
        from bench.report.figures.estimates import estimates
        from bench.walkthrough.information import information

        return estimates(information(wanted, images, setup, _say))

    _draw(attacks, asked, make)


def _draw(
    attacks: tuple[str, ...], asked: dict[str, Any], make: Callable[[Wanted, Setup], Figure]
) -> None:
    """Prepare this process as a worker, make the picture, write it."""
    from bench import api
    from bench.files.paths import data_root as root
    from bench.plan.request import Request, check
    from bench.report.figures import files
    from bench.results.store import write_whole

    out: Path = asked["out"]
    require_suffix(out, files.SUFFIXES)
    names.spelled(asked["device"])
    chunk, own = names.chunk(asked["device"], asked["chunk"]), weight_files(asked["weights"])
    api.load(asked["plugins"])
    words = {key: asked[key] for key in ("defenses", "dataset", "threat", "subset", "preset")}
    check(Request(attacks=attacks, **words))

    from bench.compute import device as devices
    from bench.measure.worker import Setup
    from bench.walkthrough.walk import Wanted

    devices.require("float32", devices.parse(asked["device"]))
    keys = ("defenses", "dataset", "threat", "subset", "preset", "seed", "results")
    wanted = Wanted(attacks=attacks, **{key: asked[key] for key in keys})
    setup = Setup(asked["device"], chunk, 1, asked["plugins"], own, str(root().resolve()))
    setup.start()
    figure = make(wanted, setup)
    write_whole(out, files.encode(figure, out.suffix))
    _say(str(out))


def _say(text: str) -> None:
    click.echo(text, err=True)
