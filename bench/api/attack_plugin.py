"""What an attack is as a plug-in: when it makes no sense, what it costs, what it knows."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bench.api.plugin import Plugin
from bench.errors import BenchError
from bench.facts import BUDGET, Facts, Follows, Knows
from bench.spec import Settings
from bench.threat import MARKERS, NORMS

if TYPE_CHECKING:
    from bench.api.purifier import Traits


@dataclass(frozen=True)
class Runs:
    """What an attack asks of a defense, per image; at most, where it may end early.

    plain: runs without gradient. bpda: runs with the classifier's gradient only. exact: runs with
    the gradient through the purifier too. blind: gradients of the bare classifier. purified: runs
    of the purifier alone. direction: directions. luck: plain runs that are asked only to refute
    lucky draws, at the very worst. surrogate: runs of the stand-in with its gradient. classified:
    runs of the bare classifier alone, without gradient. stand_in: as surrogate, without the
    classifier. one_step: as surrogate, of the first step. pulled: runs of the purifier alone with
    its gradient.
    """

    plain: float = 0
    bpda: float = 0
    exact: float = 0
    blind: float = 0
    purified: float = 0
    direction: float = 0
    luck: float = 0
    surrogate: float = 0
    classified: float = 0
    stand_in: float = 0
    one_step: float = 0
    pulled: float = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of runs."""
        for name, runs in vars(self).items():
            if not 0 <= runs < math.inf:
                raise ValueError(f"{name}={runs} is no number of runs")


class Same(str):
    """Why an attack is skipped: another one, any of `of`, does the same against such a defense.

    Where none of them is asked for with the same settings, it is no reason. apart: settings that
    make no difference here.
    """

    why: str
    of: tuple[str, ...]
    apart: tuple[str, ...]

    def __new__(cls, why: str, *of: str, apart: tuple[str, ...] = ()) -> Self:
        """`WHY: duplicate of NAME`, of the first one."""
        found = super().__new__(cls, f"{why}: duplicate of {of[0]}")
        found.why, found.of, found.apart = why, of, apart
        return found


@dataclass(frozen=True, kw_only=True)
class AttackPlugin(Plugin):
    """An attack: `factory(*, key=default, ...) -> Attack`, or `factory(context, *, ...)`.

    uses_dataset: the factory takes the Context, which its signature says. norms: the balls that it
    can attack.
    skip(settings, traits): why it makes no sense against such a defense (`Same` where another one
    does what it does), or nothing.
    cost(settings, traits): the runs that it asks of such a defense.
    variants(settings): attacked versions of each image that the judge scores (corruptions).
    tries(settings): predictions of each image, at most, by which the judge tries its candidates,
    and of the clean image as many (resubmission).
    absent(settings, data set): what it reads from the data root and is not there, or nothing.
    reads(settings): digests by name of what it reads there; of other files, records are made again.
    threat(settings, ball): the threat that it is judged under on a board of that ball, where it is
    one of its own.
    software: packages besides the usual ones whose versions a record names.
    knows, follows (also as functions of the settings), budget, noise, given, aside: as in `Facts`.
    """

    kind = "attack"
    norms: tuple[str, ...] = NORMS
    skip: Callable[[Settings, Traits], str | None] = lambda settings, traits: None
    cost: Callable[[Settings, Traits], Runs] = lambda settings, traits: Runs()
    variants: Callable[[Settings], int] = lambda settings: 1
    tries: Callable[[Settings], int] = lambda settings: 0
    uses_dataset: bool = False
    absent: Callable[[Settings, str], str | None] = lambda settings, dataset: None
    reads: Callable[[Settings], Mapping[str, str]] = lambda settings: {}
    threat: Callable[[Settings, str], str] = lambda settings, ball: ball
    software: tuple[str, ...] = ()
    knows: Knows | Callable[[Settings], Knows] = ""
    follows: Follows | Callable[[Settings], Follows] = ""
    budget: tuple[str, ...] = BUDGET
    noise: bool = False
    given: bool = False
    aside: str = ""

    def __post_init__(self) -> None:
        """Read from the signature whether the factory takes the Context."""
        super().__post_init__()
        parameters = inspect.signature(self.factory).parameters.values()
        if any(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters):
            object.__setattr__(self, "uses_dataset", True)

    def facts(self, settings: Settings) -> Facts:
        """What it says of itself at these settings.

        Raises:
            BenchError: a word that is not allowed; the attack is named.
        """
        knows = self.knows(settings) if callable(self.knows) else self.knows
        follows = self.follows(settings) if callable(self.follows) else self.follows
        try:
            return Facts(knows, follows, self.budget, self.noise, self.given, self.aside)
        except BenchError as error:
            raise BenchError(f"attack '{self.name}': {error}") from None

    def within(self, settings: Settings, ball: str) -> str:
        """The threat that it is judged under on a board of that ball."""
        marker = next((marker for marker in MARKERS if marker in self.norms), None)
        return marker or self.threat(settings, ball)
