"""Points that somebody made: an outsider's stronger attack, checked and scored like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from bench.api import Context, attack
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.data.points import SUFFIXES, Points, check, read
from bench.errors import BenchError
from bench.models.zoo.weights import FILE
from bench.spec import Settings

NAME = "submitted"


@dataclass(frozen=True)
class Submitted:
    """The points of a file, by image; the defense is never asked.

    index: the images that it is given, once they are known.
    """

    points: Points
    index: tuple[int, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.points.sha256

    def at(self, split: str, index: Sequence[int]) -> Submitted:
        """The same on the images `index` of `split`.

        Raises:
            BenchError: the points are of another split, or there are none for some image.
        """
        points = self.points
        of = points.about.get("split", split)
        if of != split:
            raise BenchError(f"{points.path}: points of {of} images, not {split} images")
        if missing := set(index) - set(points.index):
            raise BenchError(
                f"{points.path} has {len(points)} images and lacks image {min(missing)}; score "
                "fewer with --images, or submit them all"
            )
        return replace(self, index=tuple(index))

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The points of the images x [B,C,H,W].

        Raises:
            BenchError: a label is wrong, or a point outside of the threat.
        """
        if len(self.index) != len(x):
            raise BenchError("which images are attacked is not known: bench verify checks points")
        rows = [self.points.index.index(image) for image in self.index]
        label = tuple(self.points.label[row] for row in rows) if self.points.label else ()
        found = self.points.x_adv[:, rows].to(x.device)
        check(replace(self.points, x_adv=found, label=label), self.index, x, y, threat)
        return Attacked(found[0])


def _path(settings: Settings) -> str:
    return str(settings["file"])


def _fits(settings: Settings, dataset: str) -> None:
    del dataset
    path = Path(_path(settings))
    if not path.name:
        raise BenchError("submitted needs a file of points: submitted:file=PATH")
    if path.suffix not in SUFFIXES:
        raise BenchError(f"submitted: points lie in {', '.join(SUFFIXES)} files, not '{path}'")


@attack(
    NAME,
    pattern="submitted:file=PATH",
    weights=lambda settings: (FILE + _path(settings),),
    fits=_fits,
    knows="mixed",
    given=True,
)
def submitted(context: Context, *, file: str = "") -> Submitted:
    """Points within the threat that somebody made, with the index of every image."""
    found = context.weights(FILE + file)
    points = read(found.path, context.dataset, context.shape)
    if not points.index:
        raise BenchError(
            f"{file} does not say which images it holds (index); bench verify {file} --out FILE "
            "writes one that does"
        )
    if points.variants or len(points.x_adv) > 1:
        raise BenchError(f"{file}: corrupted images are no attack within a ball")
    if points.sha256 != found.sha256:
        raise BenchError(f"{file} was changed while it was read")
    return Submitted(points)
