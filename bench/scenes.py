"""Warm defenses to the data of a picture: strips of images, score norms, ways through features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.defense import Defense, Network
from bench.errors import BenchError
from bench.nets.normalised import Normalised, has_features
from bench.pictures import Bars, Frame, Histograms, Journey, Strip, Strips, Trajectories
from bench.results import SHARD, Store, shards_of
from bench.walks import Scene, Walk, Wanted, scenes, walk, walks, where
from bench.worker import Setup

Say = Callable[[str], None]
SHOWN = 0.5
"""How far from grey an amplified perturbation may go."""
PERPLEXITY = 30.0
"""Of t-SNE, where there are points enough (van der Maaten & Hinton 2008 take 5 to 50)."""


@runtime_checkable
class Scored(Protocol):
    """A purifier with a score network."""

    def score_norm(self, x: Tensor) -> Tensor:
        """The l2 norm of the score at images [B,C,H,W], [B,1,1,1]."""
        ...


def strips(wanted: Wanted, index: int, frames: int, setup: Setup, say: Say) -> Strips:
    """Image number `index` of the subset, attacked and purified by each defense.

    frames: steps of purification that are shown, at most, the last one included.

    Raises:
        BenchError: no such image, or what `scenes` and `walk` refuse.
    """
    info, subset = where(wanted)
    if not 0 <= index < len(subset):
        raise BenchError(
            f"--index {index}: subset '{subset.name}' of '{info.name}' has images 0 to "
            f"{len(subset) - 1}"
        )
    if frames < 1:
        raise BenchError("--frames needs at least 1")
    found = scenes(wanted)
    number, row = divmod(index, SHARD)
    made = []
    for scene in found:
        done = _walk(scene, number, setup, wanted, say)
        made.append(_strip(scene, done, row, frames, info.classes))
    head = found[0]
    label = info.classes[subset.label[index]]
    said = (
        f"{info.name}, image {index} of subset {subset.name}, class {label}; {_attack(head)}, "
        f"preset {wanted.preset}, seed {wanted.seed}. Change: attacked minus clean, amplified as "
        "written, grey is none. Steps are those of one run, added noise included; below, what the "
        "classifier calls that image. Left, what the whole defense calls the attacked image."
    )
    return Strips(tuple(made), said)


def score_norms(wanted: Wanted, images: int, after: int, setup: Setup, say: Say) -> Histograms:
    """Norms of the score at natural, attacked and purified images, a panel for each attack.

    after: how many steps purify; 0 for all of them.

    Raises:
        BenchError: a defense without a score network or with fewer steps than `after`, or what
            `scenes` and `walk` refuse.
    """
    if len(wanted.defenses) != 1:
        raise BenchError("score norms are of one defense at a time")
    if after < 0:
        raise BenchError(f"--after {after}: steps are counted from 1; 0 is all of them")
    found = scenes(_with_clean(wanted))
    clean, attacks = found[0], found[1:]
    count = _counted(wanted, images)

    def norms(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parts = [_norms(each, after) for each in _walks(scene, count, setup, wanted, say)]
        first, second = (np.concatenate(side)[:count] for side in zip(*parts, strict=True))
        return first, second

    natural, cleaned = norms(clean)
    panels = []
    for scene in attacks:
        attacked, purified = norms(scene)
        bars = (
            Bars("natural", natural),
            Bars("attacked", attacked, attacked=True),
            Bars("natural, purified", cleaned, purified=True),
            Bars("attacked, purified", purified, attacked=True, purified=True),
        )
        panels.append((scene.attack, bars))
    steps = f"after {after} of the steps, added noise included" if after else "by one whole run"
    said = (
        f"{clean.defense} on {_conditions(wanted, found[-1], several=True)}, n = {count} images. "
        f"Purified: {steps}."
    )
    return Histograms(tuple(panels), "norm of the score (l2)", said)


def trajectories(wanted: Wanted, images: int, setup: Setup, say: Say) -> Trajectories:
    """Clean and attacked images and every step of their purification, in a plane (t-SNE).

    The plane is that of the classifier's last map, averaged over its positions; of its logits,
    where it offers no maps.

    Raises:
        BenchError: several defenses or attacks, or what `scenes` and `walk` refuse.
    """
    found = scenes(wanted)
    if len(found) != 1:
        raise BenchError("a trajectory is of one defense under one attack")
    (scene,) = found
    info, subset = where(wanted)
    count = _counted(wanted, images)
    rows: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    space = ""
    for done in _walks(scene, count, setup, wanted, say):
        states = torch.stack([done.shard.x, done.points, *done.states])
        values, correct, space = _features(done, states)
        rows.append(values)
        right.append(correct)
    longest = max(len(each) for each in rows)
    whole = [np.concatenate([each, *[each[-1:]] * (longest - len(each))]) for each in rows]
    good = [np.concatenate([each, *[each[-1:]] * (longest - len(each))]) for each in right]
    values, correct = np.concatenate(whole, 1)[:, :count], np.concatenate(good, 1)[:, :count]
    plane = embed(values.reshape(-1, values.shape[2])).reshape(longest, count, 2)
    journeys = tuple(
        Journey(plane[0, i], plane[1:, i], tuple(bool(c) for c in correct[:, i]))
        for i in range(count)
    )
    labels = tuple(info.classes[subset.label[i]] for i in range(count))
    said = (
        f"{scene.defense} on {_conditions(wanted, scene)}, n = {count} images; {space}, t-SNE "
        "(seed 0). Lines: from the attacked image through every step of one run. Colour: whether "
        "the classifier alone is right there."
    )
    return Trajectories(journeys, labels, said)


def embed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [N,D] in a plane [N,2], the same each time."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(values)
    return np.asarray(made, dtype=np.float64)


def amplified(change: Tensor) -> tuple[Tensor, float]:
    """A perturbation [C,H,W] times 1, 2 or 5 times a power of ten, around grey, and that factor.

    It is the largest of those that leaves [0,1] alone; 0 for no change.
    """
    most = float(change.abs().max())
    if not most:
        return torch.full_like(change, SHOWN), 0.0
    # A hair more than there is room for, so that eps = 0.05 is amplified tenfold.
    room = SHOWN / most * (1 + 1e-5)
    power = 10.0 ** math.floor(math.log10(room))
    factor = next(k * power for k in (5.0, 2.0, 1.0) if k * power <= room)
    return (SHOWN + factor * change).clamp(0, 1), factor


def _strip(scene: Scene, done: Walk, row: int, frames: int, classes: Sequence[str]) -> Strip:
    truth = int(done.shard.y[row])
    clean, attacked = done.shard.x[row], done.points[row]
    images = torch.stack([clean, attacked, *(state[row] for state in done.states)])
    with torch.no_grad():
        sure, called = done.defense.classifier(images).softmax(1).max(1)

    def frame(name: str, place: int) -> Frame:
        label = int(called[place])
        pixels = images[place].cpu().numpy()
        return Frame(name, pixels, classes[label], float(sure[place]), label == truth)

    change, factor = amplified(attacked - clean)
    name = f"change \N{MULTIPLICATION SIGN} {factor:g}" if factor else "no change"
    made = [frame("clean", 0), Frame(name, change.cpu().numpy()), frame("attacked", 1)]
    steps = len(done.states)
    chosen = np.unique(np.linspace(steps - 1, 0, min(frames, steps)).round().astype(int))
    for place in map(int, chosen):
        last = place == steps - 1
        made.append(frame("purified" if last else f"step {place + 1}/{steps}", place + 2))
    decided = int(done.decided[row])
    runs = done.defense.runs
    verdict = f"{classes[decided]}\n{100 * float(done.sure[row]):.0f} %"
    verdict += f" over {runs} runs" if runs > 1 else ""
    return Strip(scene.defense, verdict, decided == truth, tuple(made), purified=steps > 0)


def _norms(done: Walk, after: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The norms at the points of a walk and at their purified versions, each [B]."""
    score = _scored(done.defense)
    steps = len(done.states)
    if after > steps:
        raise BenchError(f"--after {after}: this defense takes {steps} steps, added noise included")
    end = done.states[after - 1] if steps else done.points
    found = (score.score_norm(x).flatten().double().cpu().numpy() for x in (done.points, end))
    first, second = found
    return first, second


def _scored(defense: Defense) -> Scored:
    for part in defense.purifiers:
        if isinstance(part, Scored):
            return part
    names = ", ".join(type(part).__name__ for part in defense.purifiers)
    raise BenchError(f"no part of the defense ({names}) has a score network; adp has one")


class _Features(nn.Module):
    """A classifier's last map, averaged over its positions, and its logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] to [B,D]."""
        assert has_features(self.classifier)
        last = list(self.classifier.features(x).values())[-1]
        return last.mean((2, 3)) if last.dim() == 4 else last.flatten(1)


def _features(done: Walk, states: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Features [T,B,D] of states [T,B,C,H,W], where the classifier is right [T,B], their name."""
    classifier = done.defense.classifier
    flat = states.flatten(0, 1)
    with torch.no_grad():
        logits = classifier(flat)
        values, space = logits, "logits of the classifier"
        if _has_maps(classifier.module):
            values = Network(_Features(classifier.module), "features")(flat)
            space = "last map of the classifier"
    right = (logits.argmax(1).view(len(states), -1) == done.shard.y).cpu().numpy()
    shaped = values.view(*states.shape[:2], -1).double().cpu().numpy()
    return shaped, right, space


def _has_maps(module: nn.Module) -> bool:
    inside = module.network if isinstance(module, Normalised) else module
    return has_features(module) and has_features(inside)


def _walk(scene: Scene, number: int, setup: Setup, wanted: Wanted, say: Say) -> Walk:
    say(_announce(scene, SHARD))
    done = walk(scene, number, setup, _store(wanted))
    if done.stored:
        say(f"{scene.defense} under {scene.attack}: attacked images of {wanted.results}")
    return done


def _walks(scene: Scene, images: int, setup: Setup, wanted: Wanted, say: Say) -> Iterator[Walk]:
    """The walks of several shards, with a word before and after each."""
    say(_announce(scene, images))
    shards = shards_of(images)
    for number, done in enumerate(walks(scene, images, setup, _store(wanted)), 1):
        if shards > 1:
            say(f"{scene.defense} under {scene.attack}: {number} of {shards} shards")
        yield done


def _announce(scene: Scene, images: int) -> str:
    return (
        f"{scene.defense} under {scene.attack}: {images} images, at most {scene.calls:,.0f} "
        "network calls each"
    )


def _store(wanted: Wanted) -> Store | None:
    """The folder of results; an archive holds no points."""
    there = wanted.results is not None and wanted.results.is_dir()
    return Store(wanted.results) if there and wanted.results else None


def _counted(wanted: Wanted, images: int) -> int:
    info, subset = where(wanted)
    if not 2 <= images <= len(subset):
        raise BenchError(
            f"--images {images}: subset '{subset.name}' of '{info.name}' allows 2 to {len(subset)}"
        )
    return images


def _with_clean(wanted: Wanted) -> Wanted:
    attacks = [text for text in wanted.attacks if text != "clean"]
    if not attacks:
        raise BenchError("name an attack: --attack bpda")
    return replace(wanted, attacks=("clean", *attacks))


def _attack(scene: Scene, several: bool = False) -> str:
    ball = "" if scene.cell.threat in ("none", "corruption") else f" within {scene.cell.threat}"
    return f"{'attacks' if several else scene.attack}{ball}"


def _conditions(wanted: Wanted, scene: Scene, several: bool = False) -> str:
    cell = scene.cell
    return (
        f"{cell.dataset}, subset {cell.subset}, {_attack(scene, several)}, preset "
        f"{wanted.preset}, seed {wanted.seed}"
    )
