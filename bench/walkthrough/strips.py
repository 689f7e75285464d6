"""Images on their way through defenses, as strips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.report.figures.data import Frame, Strip, Strips
from bench.results.store import SHARD
from bench.walkthrough.walk import Say, Scene, Walk, Wanted, at, attack, one_walk, scenes

SHOWN = 0.5
"""How far from grey an amplified perturbation may go."""


def strips(wanted: Wanted, index: int, frames: int, setup: Setup, say: Say) -> Strips:
    """Image number `index` of the subset, attacked and purified by each defense.

    frames: steps of purification that are shown, at most, the last one included.
    """
    info, subset = at(wanted, index)
    if frames < 1:
        raise BenchError("--frames needs at least 1")
    found = scenes(wanted)
    number, row = divmod(index, SHARD)
    made = []
    for scene in found:
        done = one_walk(scene, number, setup, wanted, say)
        made.append(_strip(scene, done, row, frames, info.classes))
    head = found[0]
    label = info.classes[subset.label[index]]
    said = (
        f"{info.name}, image {index} of subset {subset.name}, class {label}; {attack(head)}, "
        f"preset {wanted.preset}, seed {wanted.seed}. Change: attacked minus clean, amplified as "
        "written, grey is none. Steps are those of one run, added noise included; below, what the "
        "classifier calls that image. Left, what the whole defense calls the attacked image."
    )
    return Strips(tuple(made), said)


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
