"""Ways of images through a classifier's features, in a plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.api.purifier import Network
from bench.errors import BenchError
from bench.measure.worker import Setup
from bench.models.nets.normalised import Normalised, has_features
from bench.report.figures.data import Journey, Trajectories
from bench.walkthrough.walk import Say, Walk, Wanted, all_walks, conditions, counted, scenes, where

PERPLEXITY = 30.0
"""Of t-SNE, where there are points enough (van der Maaten & Hinton 2008 take 5 to 50)."""


def trajectories(wanted: Wanted, images: int, setup: Setup, say: Say) -> Trajectories:
    """Clean and attacked images and every step of their purification, in a plane (t-SNE).

    The plane is that of the classifier's last map, averaged over its positions; of its logits,
    where it offers no maps.
    """
    found = scenes(wanted)
    if len(found) != 1:
        raise BenchError("a trajectory is of one defense under one attack")
    (scene,) = found
    info, subset = where(wanted)
    count = counted(wanted, images)
    rows: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    space = ""
    for done in all_walks(scene, count, setup, wanted, say):
        states = torch.stack([done.shard.x, done.points, *done.states])
        values, correct, space = features(done, states)
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
        f"{scene.defense} on {conditions(wanted, scene)}, n = {count} images; {space}, t-SNE "
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


class _Pooled(nn.Module):
    """A map of a classifier, averaged over its positions."""

    def __init__(self, classifier: nn.Module, place: int) -> None:
        super().__init__()
        self.classifier, self.place = classifier, place

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] to [B,D]."""
        assert has_features(self.classifier)
        found = list(self.classifier.features(x).values())[self.place]
        return found.mean((2, 3)) if found.dim() == 4 else found.flatten(1)


def pooled(module: nn.Module, x: Tensor, place: int) -> Tensor | None:
    """Map number `place` of a classifier for images, averaged over its positions; None without."""
    found: Tensor | None = None
    if _has_maps(module):
        found = Network(_Pooled(module, place), "features")(x)
    return found


def _has_maps(module: nn.Module) -> bool:
    inside = module.network if isinstance(module, Normalised) else module
    return has_features(module) and has_features(inside)


@torch.no_grad()
def features(
    done: Walk, states: Tensor, rows: slice = slice(None)
) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Features [T,B,D] of states [T,B,C,H,W], where the classifier is right [T,B], their name.

    rows: which images of the walk they are of.
    """
    classifier = done.defense.classifier
    flat = states.flatten(0, 1)
    logits = classifier(flat)
    last = pooled(classifier.module, flat, -1)
    values, space = (logits, "logits") if last is None else (last, "last map")
    right = (logits.argmax(1).view(len(states), -1) == done.shard.y[rows]).cpu().numpy()
    shaped = values.view(*states.shape[:2], -1).double().cpu().numpy()
    return shaped, right, f"{space} of the classifier"
