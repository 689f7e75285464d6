"""One image under several attacks and on its way back: where a classifier is right (ADP, Fig. 10).

All points of that image (clean, attacked, every step of one purification) lie in a plane by t-SNE,
once by their pixels and once by the classifier's features. Every place of the plane counts as its
nearest point does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.report.figures.data import Journey, Regions
from bench.results.store import SHARD
from bench.walkthrough.trajectory import embed, features
from bench.walkthrough.walk import Say, Wanted, at, conditions, one_walk, scenes

FEWEST = 6
"""Points of which a plane can be made."""


def regions(wanted: Wanted, index: int, setup: Setup, say: Say) -> Regions:
    """Image number `index` of the subset under each attack, purified by one defense."""
    info, subset = at(wanted, index)
    found = scenes(wanted)
    if len({scene.defense for scene in found}) > 1:
        raise BenchError("decision regions are of one defense at a time")
    number, row = divmod(index, SHARD)
    only = slice(row, row + 1)
    pixels: list[NDArray[np.float64]] = []
    maps: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    space = ""
    for scene in found:
        done = one_walk(scene, number, setup, wanted, say)
        states = torch.stack([each[only] for each in (done.shard.x, done.points, *done.states)])
        values, correct, space = features(done, states, only)
        pixels.append(states.flatten(1).double().cpu().numpy())
        maps.append(values[:, 0])
        right.append(correct[:, 0])
    count = 1 + sum(len(each) - 1 for each in right)
    if count < FEWEST:
        raise BenchError(
            f"{count} points are too few for regions: name more attacks, or a defense with steps"
        )
    head = found[0]
    said = (
        f"{head.defense} on {conditions(wanted, *found)}; image {index}, class "
        f"{info.classes[subset.label[index]]}; {count} points, t-SNE (seed 0). Colour: whether the "
        "classifier alone is right at the nearest point. Lines: from the attacked image through "
        "every step of one run."
    )
    panels = (("pixels", _ways(pixels, right)), (space, _ways(maps, right)))
    return Regions(panels, tuple(scene.attack for scene in found), said)


def _ways(values: list[NDArray[np.float64]], right: list[NDArray[np.bool_]]) -> tuple[Journey, ...]:
    """A way for each attack [1+T,D], all of which begin at the same clean image, in one plane."""
    plane = embed(np.concatenate([values[0][:1], *(each[1:] for each in values)]))
    ends = 1 + np.cumsum([len(each) - 1 for each in values])
    paths = np.split(plane, ends[:-1])
    paths[0] = paths[0][1:]
    return tuple(
        Journey(plane[0], path, tuple(bool(c) for c in correct))
        for path, correct in zip(paths, right, strict=True)
    )
