"""What the live pictures share: the walks that were asked for, and words for captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.results.store import SHARD, Store, shards_of
from bench.spec import NO_ATTACK
from bench.walkthrough.walk import (
    Scene,
    Walk,
    Wanted,
    walk,
    walks,
    where,
)

Say = Callable[[str], None]


def one_walk(scene: Scene, number: int, setup: Setup, wanted: Wanted, say: Say) -> Walk:
    """The walk of one shard, with a word before it."""
    say(_announce(scene, SHARD))
    done = walk(scene, number, setup, _store(wanted))
    if done.stored:
        say(f"{scene.defense} under {scene.attack}: attacked images of {wanted.results}")
    return done


def all_walks(scene: Scene, images: int, setup: Setup, wanted: Wanted, say: Say) -> Iterator[Walk]:
    """The walks of several shards, with a word before and after each."""
    say(_announce(scene, images))
    shards = shards_of(images)
    for number, done in enumerate(walks(scene, images, setup, _store(wanted)), 1):
        if shards > 1:
            say(f"{scene.defense} under {scene.attack}: {number} of {shards} shards")
        yield done


def _announce(scene: Scene, images: int) -> str:
    """What is about to run, and at what cost."""
    return (
        f"{scene.defense} under {scene.attack}: {images} images, at most {scene.calls:,.0f} "
        "network calls each"
    )


def _store(wanted: Wanted) -> Store | None:
    """The folder of results; an archive holds no points."""
    there = wanted.results is not None and wanted.results.is_dir()
    return Store(wanted.results) if there and wanted.results else None


def counted(wanted: Wanted, images: int) -> int:
    """How many images were asked for."""
    info, subset = where(wanted)
    if not 2 <= images <= len(subset):
        raise BenchError(
            f"--images {images}: subset '{subset.name}' of '{info.name}' allows 2 to {len(subset)}"
        )
    return images


def with_clean(wanted: Wanted) -> Wanted:
    """The same with clean images before the attacks."""
    attacks = [text for text in wanted.attacks if text != NO_ATTACK]
    if not attacks:
        raise BenchError("name an attack: --attack bpda")
    return replace(wanted, attacks=(NO_ATTACK, *attacks))


def attack(scene: Scene, several: bool = False) -> str:
    """The attack, or all of several, and within what."""
    ball = "" if scene.cell.threat in ("none", "corruption") else f" within {scene.cell.threat}"
    return f"{'attacks' if several else scene.attack}{ball}"


def conditions(wanted: Wanted, scene: Scene, several: bool = False) -> str:
    """What a caption says of how the images were made."""
    cell = scene.cell
    return (
        f"{cell.dataset}, subset {cell.subset}, {attack(scene, several)}, preset "
        f"{wanted.preset}, seed {wanted.seed}"
    )
