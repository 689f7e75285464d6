"""What a picture shows, as numbers and text: made from boards or from warm networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats import Figure

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A share (fraction) with its interval at x. bound: it is an upper bound only."""

    x: float
    share: Figure
    bound: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a chart, its points in the order of x.

    stairs: (x, share) of every step down, where the share is known between the points too.
    aside: drawn in the background, such as clean accuracy. same: lines of one name are of one
    colour, whatever their labels.
    """

    label: str
    points: tuple[Point, ...]
    stairs: tuple[tuple[float, float], ...] = ()
    aside: bool = False
    same: str = ""


@dataclass(frozen=True)
class Panel:
    """Series on one pair of axes."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Axis:
    """What x is, with its unit. ticks: (x, text), where the text is not the number itself."""

    label: str
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Chart:
    """Shares against x, in panels that share both axes.

    y_label: what the shares are, in percent. caption: data set, threat, n and whatever the axes
    do not say.
    """

    panels: tuple[Panel, ...]
    axis: Axis
    y_label: str
    caption: str


@dataclass(frozen=True)
class Spot:
    """A labelled point of a scatter plot. kind: what it stands for. bound: an upper bound only."""

    label: str
    x: float
    share: Figure
    kind: str = "defense"
    bound: bool = False


@dataclass(frozen=True)
class Scatter:
    """Shares in percent against a cost."""

    spots: tuple[Spot, ...]
    axis: Axis
    y_label: str
    caption: str


@dataclass(frozen=True, eq=False)
class Frame:
    """An image [C,H,W] in [0,1] with the class that the classifier gives it, and how surely.

    name: what is over it. label: the class, or empty where it is no image to classify.
    confidence: of that class, in [0,1]. right: whether the class is the true one.
    """

    name: str
    image: Pixels
    label: str = ""
    confidence: float = 0.0
    right: bool = True


@dataclass(frozen=True, eq=False)
class Strip:
    """One image on its way: clean, perturbation, attacked, the steps of one purification.

    name: the defense. verdict: what the whole defense says of the attacked image, and right:
    whether that is the true class. purified: the last frame is the end of a purification.
    """

    name: str
    verdict: str
    right: bool
    frames: tuple[Frame, ...]
    purified: bool = True


@dataclass(frozen=True, eq=False)
class Strips:
    """Strips of several defenses, one below the other."""

    strips: tuple[Strip, ...]
    caption: str


@dataclass(frozen=True, eq=False)
class Bars:
    """A sample [N] of a histogram. purified: drawn as an outline. attacked: in the other colour."""

    label: str
    values: Floats
    attacked: bool = False
    purified: bool = False


@dataclass(frozen=True, eq=False)
class Histograms:
    """Samples on one axis x, a panel (title, samples) for each attack."""

    panels: tuple[tuple[str, tuple[Bars, ...]], ...]
    x_label: str
    caption: str


@dataclass(frozen=True, eq=False)
class Journey:
    """One image in the plane: clean, then attacked and every step of its purification [T+1,2].

    right: whether the bare classifier is right at clean, and at each of these [1+T+1].
    """

    clean: Floats
    path: Floats
    right: tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Journeys of several images, of the classes `label` with their names."""

    journeys: tuple[Journey, ...]
    label: tuple[str, ...]
    caption: str


@dataclass(frozen=True, eq=False)
class Regions:
    """The ways of one image under several attacks, in a plane for each of `panels` (title, ways).

    labels: the attacks, in the order of the ways.
    """

    panels: tuple[tuple[str, tuple[Journey, ...]], ...]
    labels: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Estimate:
    """A number with the least and the largest that repetitions gave. attacked: its other colour."""

    label: str
    value: float
    low: float
    high: float
    attacked: bool = False


@dataclass(frozen=True)
class Estimates:
    """Numbers in groups (name, numbers) on one axis that begins at 0."""

    groups: tuple[tuple[str, tuple[Estimate, ...]], ...]
    x_label: str
    caption: str
