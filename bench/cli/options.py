"""Options that `run` and `plan` share, and how they become a Request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from bench import api
from bench.cli.common import F, add
from bench.cli.stdout import others_to_stderr
from bench.errors import BenchError
from bench.plan.request import Request, check, groups, labels
from bench.spec import Part, parse_defense, parse_part, resubmitted, split_list
from bench.threat import Threat

OPTIONS = (
    click.option(
        "--defense",
        "defenses",
        multiple=True,
        metavar="SPEC",
        help="adp, adp:vote=10, none@madry, a+b@trades, or the group all; repeat or use commas.",
    ),
    click.option(
        "--attacks",
        "attacks",
        multiple=True,
        default=["all"],
        show_default=True,
        metavar="SPEC",
        help="Group (all, blind, adaptive, blackbox, corruption, strict) or names with settings.",
    ),
    click.option("--dataset", default="patches", show_default=True, metavar="NAME"),
    click.option(
        "--threat",
        "threats",
        multiple=True,
        metavar="NORM:EPS",
        help="Default: the data set's. Repeat or use commas: one board each.",
    ),
    click.option("--subset", default="", metavar="NAME", help="Default: the data set's."),
    click.option("--images", type=int, metavar="N", help="Default: the whole subset."),
    click.option("--seeds", default=1, show_default=True, metavar="N", help="Attack seeds 0..N-1."),
    click.option(
        "--draws",
        type=int,
        metavar="M",
        help="Fresh predictions of each image where something is random; default: the data set's.",
    ),
    click.option(
        "--resubmit",
        type=int,
        metavar="N",
        help="Beside each gradient attack, one whose candidate of every step is tried N times.",
    ),
    click.option(
        "--preset",
        default="standard",
        show_default=True,
        metavar="NAME",
        help="How much of each attack: quick, standard, paper.",
    ),
    click.option(
        "--control",
        "controls",
        multiple=True,
        metavar="SPEC",
        help="Cheap controls beside purifiers; default: the data set's, 'off' for none.",
    ),
    click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own plug-in."),
    click.option("--shard", default="", metavar="I/N", help="Part I of N equal parts of the work."),
    click.option(
        "--paper",
        default="",
        metavar="NAME",
        help="What a paper's printed tables need: adp, aid, scoreopt, all.",
    ),
    click.option("--table", "number", default="", metavar="N", help="Only this one, as 1 or 11a."),
)


def shared(function: F) -> F:
    """Add the shared options to a command."""
    return add(function, OPTIONS)


def typed(name: str) -> str:
    """The value of an option of the running command where somebody gave it, else nothing."""
    context = click.get_current_context()
    given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    return str(context.params[name]) if given else ""


def checked(files: Sequence[str], **asked: Any) -> list[Request]:
    """The requests that were typed, once plug-ins are loaded: each of their words means something.

    Raises:
        BenchError: as `requests` and `check`; nothing heavy was imported by then.
    """
    with others_to_stderr():
        api.load(files)
        found = requests(**asked)
        for each in found:
            check(each)
    return found


def requests(
    *, threats: tuple[str, ...] = (), paper: str = "", number: str = "", **asked: Any
) -> list[Request]:
    """A Request for each threat that was typed, or those of a paper: as many runs in turn.

    Raises:
        BenchError: a threat that is none, or one twice; options that do not go with --paper.
    """
    if paper or number:
        return _printed(paper, number, asked)
    texts = [part.strip() for text in threats for part in text.split(",") if part.strip()]
    known = [str(Threat.parse(text)) for text in texts]
    if twice := [threat for threat in known if known.count(threat) > 1]:
        raise BenchError(f"--threat names the ball {twice[0]} twice")
    if threats and not texts:
        raise BenchError("--threat names no ball (such as --threat linf:8/255)")
    one = request(**asked)
    return [replace(one, threat=text) for text in texts] or [one]


def paper_alone() -> None:
    """Refuse beside --paper what its tables say by themselves."""
    for name in ("defenses", "attacks", "threats", "subset", "controls", "resubmit"):
        if typed(name):
            option = name if name == "attacks" else name.rstrip("s")
            raise BenchError(f"--paper says by itself what --{option} would; leave one of them out")


def _printed(paper: str, number: str, asked: dict[str, Any]) -> list[Request]:
    """What fills a paper's tables: its own defenses and attacks, in the amounts that were typed."""
    from bench.cli.papers import chosen
    from bench.plan.from_papers import requests as wanted

    paper_alone()
    sheets = [sheet for some in chosen(paper, number).values() for sheet in some]
    found, _ = wanted(sheets, typed("dataset"), typed("preset"))
    return [
        replace(
            each,
            images=asked["images"] or 0,
            seeds=asked["seeds"],
            draws=asked["draws"] or 0,
            plugins=asked.get("plugins", ()),
            weights=asked.get("weights", ()),
        )
        for each in found
    ]


def request(
    *,
    defenses: tuple[str, ...],
    attacks: tuple[str, ...],
    dataset: str,
    subset: str,
    images: int | None,
    seeds: int,
    preset: str,
    controls: tuple[str, ...],
    draws: int | None = None,
    resubmit: int | None = None,
    plugins: tuple[str, ...] = (),
    weights: tuple[str, ...] = (),
) -> Request:
    """The Request of the shared options."""
    if not defenses:
        raise BenchError("Missing option '--defense' (such as --defense adp)")
    if images is not None and images <= 0:
        raise BenchError("--images needs a positive number")
    if draws is not None and draws <= 0:
        raise BenchError("--draws needs a positive number")
    if resubmit is not None:
        attacks = (*attacks, *_tried(attacks, resubmit))
    chosen = [text for text in split_list(controls) if text != "off"] if controls else None
    for text in chosen or ():
        _control(text)
    return Request(
        defenses=defenses,
        attacks=attacks,
        dataset=dataset,
        subset=subset,
        images=images or 0,
        seeds=seeds,
        draws=draws or 0,
        preset=preset,
        controls=chosen,
        plugins=plugins,
        weights=weights,
    )


def _tried(attacks: Sequence[str], tries: int) -> list[str]:
    """Of what was asked, the attacks whose candidates are tried that often, in the grammar.

    Raises:
        BenchError: no number from 1 on, or none of the attacks has steps to be tried.
    """
    if tries < 1:
        raise BenchError("--resubmit needs a positive number")
    known = set(api.names("attack"))
    parts = [parse_part(label) for _, label in labels(attacks, groups())]
    found = [
        str(Part(twin, (*part.settings, ("tries", tries))))
        for part in parts
        if (twin := resubmitted(part.name)) in known
    ]
    if not found:
        asked = ", ".join(split_list(attacks))
        raise BenchError(f"--resubmit {tries}: of {asked} nothing is a search along gradients")
    return found


def _control(text: str) -> None:
    """Refuse a control that is none, also where no row would carry it."""
    if "@" in text:
        raise BenchError(f"--control '{text}': controls take the classifiers of the defenses")
    for part in parse_defense(text).parts:
        api.find_defense(part.name)


def count(number: int, noun: str) -> str:
    """`1 shard`, `2 shards`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
