"""Images attacked and purified as a run does it, and every state on the way: for pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from attacks.catalog import GROUPS
from bench.api import Context
from bench.api.ball import ThreatModel
from bench.api.images import DatasetInfo
from bench.api.purifier import Defense, repeat
from bench.api.watch import on_the_way
from bench.compute import rng
from bench.data import points
from bench.data.subsets import Subset
from bench.errors import BenchError
from bench.measure import weights_used
from bench.measure.judge import under_attack
from bench.measure.shard import Shard, begun, subset_here
from bench.measure.worker import Setup, context_of, within_memory
from bench.plan import plan
from bench.plan.request import Request, defense_groups, find_info
from bench.results.store import SHARD, Cell, Planned, Store, shards_of
from bench.spec import NO_ATTACK, parse_defense, split_list
from bench.threat import CERTIFIED

STILL = 1e-6
"""What float32 may change of a pixel on its way to [-1,1] and back: no step."""


@dataclass(frozen=True)
class Wanted:
    """What was typed. Empty texts: the data set's default.

    results: a folder whose stored points are taken where it has them.
    """

    defenses: Sequence[str]
    attacks: Sequence[str]
    dataset: str = "patches"
    threat: str = ""
    subset: str = ""
    preset: str = "standard"
    seed: int = 0
    results: Path | None = None


@dataclass(frozen=True)
class Scene:
    """A cell under the labels of its row and column. calls: per image, at most, as planned."""

    defense: str
    attack: str
    cell: Cell
    calls: float


@dataclass(frozen=True, eq=False)
class Walk:
    """A shard of B images under attack, and their way through one run of the defense.

    points: attacked [B,C,H,W]. states: after every step, the last is what the classifier is given;
    none where nothing purifies. decided [B]: the class by the vote of all S runs, and sure [B]:
    their mean softmax there (of a majority, the share of the runs). stored: the points are from
    result files.
    """

    shard: Shard
    defense: Defense
    points: Tensor
    states: tuple[Tensor, ...]
    decided: Tensor
    sure: Tensor
    stored: bool


def scenes(wanted: Wanted) -> list[Scene]:
    """A cell for each defense under each attack, in the order in which they were typed."""
    attacks = split_list(wanted.attacks)
    if grouped := [text for text in attacks if text in GROUPS]:
        raise BenchError(f"--attack {grouped[0]}: a picture is of attacks by name, not of a group")
    if wanted.seed < 0:
        raise BenchError("--seed needs a number from 0 on")
    request = Request(
        wanted.defenses,
        attacks,
        wanted.dataset,
        wanted.threat,
        wanted.subset,
        seeds=wanted.seed + 1,
        preset=wanted.preset,
        controls=[],
    )
    made, draft = plan.make(request, here=True)
    known = defense_groups()
    typed = [
        str(parse_defense(label))
        for text in split_list(wanted.defenses)
        for label in known.get(text, (text,))
    ]
    found = [
        Scene(planned.defense, planned.attack, planned.cell, cost.total)
        for planned, cost in zip(made.cells, draft.costs, strict=True)
        if planned.defense in typed and planned.cell.seed == wanted.seed
    ]
    for scene in found:
        if scene.cell.threat == CERTIFIED:
            raise BenchError(f"--attack {scene.attack}: a certificate is a proof; nothing moves")
    if not found:
        reasons = [skip.reason for skip in made.skips if skip.defense in typed]
        raise BenchError(f"{', '.join(attacks)} attacks none of them: {reasons[0]}")
    return sorted(found, key=lambda s: typed.index(s.defense))


def where(wanted: Wanted) -> tuple[DatasetInfo, Subset]:
    """The data set's facts, and the subset in its order."""
    info = find_info(wanted.dataset)
    return info, subset_here(info.name, wanted.subset or info.subset)


def at(wanted: Wanted, index: int) -> tuple[DatasetInfo, Subset]:
    """The same, for image number `index` of the subset, which has to be there."""
    info, subset = where(wanted)
    if not 0 <= index < len(subset):
        raise BenchError(
            f"--index {index}: subset '{subset.name}' of '{info.name}' has images 0 to "
            f"{len(subset) - 1}"
        )
    return info, subset


def walks(scene: Scene, images: int, setup: Setup, store: Store | None) -> Iterator[Walk]:
    """The first `images` images of a cell, shard by shard."""
    for number in range(shards_of(images)):
        yield walk(scene, number, setup, store)


def walk(scene: Scene, number: int, setup: Setup, store: Store | None) -> Walk:
    """Shard `number` of a cell: the points of a run, the draws of its judge's first look."""
    return within_memory(setup, scene.cell.defense, lambda: _walk(scene.cell, number, setup, store))


@torch.no_grad()
def _walk(cell: Cell, number: int, setup: Setup, store: Store | None) -> Walk:
    context = context_of(cell, setup)
    work = begun(cell, number, context)
    defense, shard = work.defense, work.shard
    with rng.work(work.key), rng.drawn_on_cpu(context.device):
        kept = None if store is None else stored_points(cell, number, context, store)
        if kept is None:
            threat = ThreatModel.parse(cell.threat)
            attacked = under_attack(defense, work.attack, shard.x, shard.y, threat)
            x_adv = attacked.x_adv.detach()
            x_adv = x_adv if attacked.variants else x_adv[None]
        else:
            x_adv = kept.to(context.device)
        if len(x_adv) > 1:
            raise BenchError(
                f"{cell.attack.partition(':')[0]} makes {len(x_adv)} variants of an image; choose "
                "one by its settings, such as corruption:kinds=fog,severities=3"
            )
        with rng.stream("judge", 0), on_the_way(slice(0, len(shard.y))) as states:
            purified = defense.purify(repeat(x_adv[0], defense.runs))
    shares = defense.shares(defense.classifier(purified))
    shares = shares.exp() if defense.vote == "softmax" else shares / defense.runs
    sure, decided = shares.max(1)
    steps = _steps(x_adv[0], states, purified[: len(shard.y)])
    return Walk(shard, defense, x_adv[0], steps, decided, sure, kept is not None)


def stored_points(cell: Cell, number: int, context: Context, store: Store) -> Tensor | None:
    """The attacked images [V,B,C,H,W] that a run with today's weights stored, if it did."""
    path = store.points(cell, number)
    record = store.read(Planned(cell, "", ""), number) if path.is_file() else None
    today = weights_used.weights_used(cell.defense, cell.attack, context)
    if record is None or dict(record.weights) != today:
        return None
    found = points.read(path, cell.dataset, context.shape, SHARD)
    if found.sha256 != record.points:
        raise BenchError(f"{path}: sha256 {found.sha256[:12]} is not the one of its record")
    return found.x_adv


def _steps(start: Tensor, states: Sequence[Tensor], end: Tensor) -> tuple[Tensor, ...]:
    """States that differ from the one before them, `end` last; nothing where nothing moved.

    A network of another size of images has states of that size: they are left out.
    """
    kept: list[Tensor] = []
    for state in (*(s[:, : start.shape[1]] for s in states), end):
        before = kept[-1] if kept else start
        if state.shape == start.shape and float((state - before).abs().max()) > STILL:
            kept.append(state)
    return tuple(kept)


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


def attack(*scenes: Scene) -> str:
    """The attack, or that there are several, and within what."""
    threats = dict.fromkeys(scene.cell.threat for scene in scenes)
    balls = [threat for threat in threats if threat not in ("none", "corruption")]
    within = f" within {' and '.join(balls)}" if balls else ""
    return f"{scenes[0].attack if len(scenes) == 1 else 'attacks'}{within}"


def conditions(wanted: Wanted, *scenes: Scene) -> str:
    """What a caption says of how the images were made."""
    cell = scenes[0].cell
    return (
        f"{cell.dataset}, subset {cell.subset}, {attack(*scenes)}, preset "
        f"{wanted.preset}, seed {wanted.seed}"
    )
