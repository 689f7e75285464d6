"""What an attack follows: gradients of the loss in the input, as composable frozen dataclasses.

`(defense, x, y) -> Slope`. Networks are frozen, so only the input's gradient is ever asked for.
Meanings: docs/semantics.md, "Gradients".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from attacks.losses import Climbed, climbed, expected_vote
from attacks.spread import Spread, spread
from bench.api.purifier import Defense, by_chunks, repeat

Combine = Literal["gradients", "logits", "vote"]
Through = Literal["purify", "surrogate", "one_step"]
VOTE = 2 / 255
"""How far one vote may move a purified pixel inside [0,1] (ADP's authors' code)."""


class Slope(NamedTuple):
    """What one look at the defense showed.

    gradient: like x. loss: [B]. moved: P(x) - x, like x, where the look purified.
    queries: deployed predictions asked per image. logits: those of the runs that the look made
    of the defense itself, [B,K], their mean over EOT draws. passed: what BPDA would have followed
    in the same runs, like x, where it was asked for. decided: the class that those runs chose,
    int64 [B], where `logits` are known. spread: how far the draws differ, where it was asked for.
    runs, lost: where a look tells its runs apart, each one's loss and whether its class is wrong,
    [draws,B].
    """

    gradient: Tensor
    loss: Tensor
    moved: Tensor | None = None
    queries: int = 0
    logits: Tensor | None = None
    passed: Tensor | None = None
    decided: Tensor | None = None
    spread: Spread | None = None
    runs: Tensor | None = None
    lost: Tensor | None = None


class Gradient(Protocol):
    """Images x [B,C,H,W] in [0,1] and labels y [B] to the Slope of the loss there."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """The slope at x; randomness comes from the global generator."""
        ...


class Single(Protocol):
    """The gradient of one run, as EOT repeats it."""

    @property
    def loss(self) -> Climbed:
        """What it climbs."""
        ...

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, together: int = 1) -> Slope:
        """The slope at x [B,C,H,W]: that many replicates of each image, replicate-major.

        The loss is that of their mean logits; with `together` 1 each has its own.
        """
        ...


class Direction(Protocol):
    """A second direction to follow beside the gradient (ADP's joint attacks)."""

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """The direction at x, like x; `slope` is what the gradient saw there."""
        ...


@dataclass(frozen=True)
class Blind:
    """The bare classifier's gradient at x: an attacker who knows of no purifier."""

    loss: Climbed = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """One classifier call with gradient."""
        gradient, loss, _ = classifier_slope(defense, x, y, self.loss)
        return Slope(gradient, loss)


@dataclass(frozen=True)
class Bpda:
    """Forward through P, backward as the identity at z = P(x) (Athalye et al. 2018)."""

    loss: Climbed = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, together: int = 1) -> Slope:
        """One purification without a graph, one classifier call with gradient at z."""
        with torch.no_grad():
            z = defense.purify(x)
        gradient, loss, logits = classifier_slope(defense, z, y, self.loss, together)
        return Slope(gradient, loss, moved=z - x, logits=logits)


@dataclass(frozen=True)
class Exact:
    """Through all of P by autograd; zero where the purified image does not depend on x.

    through: or forward and backward through a stand-in of P. compare: also hand over what BPDA
    would have followed, which costs nothing.
    """

    loss: Climbed = "ce"
    through: Through = "purify"
    compare: bool = False

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, together: int = 1) -> Slope:
        """dL/dz at the detached z first, chunk by chunk, then one product with dz/dx."""
        start = x.detach().requires_grad_()
        with torch.enable_grad():
            z: Tensor = getattr(defense, self.through)(start)
        upstream, loss, logits = classifier_slope(defense, z.detach(), y, self.loss, together)
        return Slope(
            pulled_back(z, start, upstream),
            loss,
            moved=z.detach() - x,
            logits=logits if self.through == "purify" else None,
            passed=upstream if self.compare else None,
        )


def surrogate(loss: Climbed = "ce") -> Exact:
    """Forward and backward through the defense's differentiable stand-in."""
    return Exact(loss, "surrogate")


@dataclass(frozen=True)
class BpdaSurrogate:
    """Forward through P, backward through its stand-in S: dL/dz at z = P(x) times dS/dx at x."""

    loss: Climbed = "ce"

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, together: int = 1) -> Slope:
        """The look of `Bpda`, then one product with the stand-in's Jacobian."""
        slope = Bpda(self.loss)(defense, x, y, together)
        start = x.detach().requires_grad_()
        with torch.enable_grad():
            stand_in = defense.surrogate(start)
        return slope._replace(gradient=pulled_back(stand_in, start, slope.gradient))


@dataclass(frozen=True)
class Eot:
    """What `draws` fresh runs say together, as one batch (Athalye et al. 2018).

    combine: the mean of their gradients; the gradient of the loss of their mean logits (Hill et
    al. 2021); or the sum of their votes (ADP's code): each purified image takes one step along its
    gradient's sign, and the gradient is how far that leads inside [0,1]. There a purified pixel
    at 0 or 1 cannot vote outward. A deterministic defense is asked once: every draw would be
    the same. Where a defense is deployed as a vote (`vote=K`), the mean is that of the expected
    vote (`expected_vote`): copies that are lost already do not pull. spread: also say whether so
    many draws suffice.
    """

    gradient: Single
    draws: int
    combine: Combine = "gradients"
    spread: bool = False

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        """Every image repeated `draws` times, then one slope per image."""
        draws = draws_of(self.draws, defense.random)
        many, together = repeat(x, draws), draws if self.combine == "logits" else 1
        slope = self.gradient(defense, many, repeat(y, draws), together)
        moved, logits = (
            None if part is None else _mean(part, draws) for part in (slope.moved, slope.logits)
        )
        found, passed, loss = slope.gradient, slope.passed, _mean(slope.loss, draws)
        if self.combine == "vote" and slope.moved is not None:
            found = _votes(many + slope.moved, found)
        if self.combine == "gradients" and defense.copies:
            loss, shares = expected_vote(self.gradient.loss, slope.loss.view(draws, -1))
            pull = (draws * shares).view(-1, *[1] * (x.dim() - 1))
            found, passed = pull * found, None if passed is None else pull * passed
        gradient, passed = _mean(found, draws), None if passed is None else _mean(passed, draws)
        decided = None if slope.logits is None else voted(defense, slope.logits, draws)
        apart = spread(found.view(draws, *x.shape)) if self.spread else None
        return Slope(gradient, loss, moved, draws * slope.queries, logits, passed, decided, apart)


@dataclass(frozen=True)
class Score:
    """Where the purifier says that the images should go: its `direction` at x."""

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """One call of the defense's direction."""
        with torch.no_grad():
            return defense.direction(x)


@dataclass(frozen=True)
class Displacement:
    """P(x) - x, the mean over `draws` runs unless the gradient has purified already."""

    draws: int = 1

    def __call__(self, defense: Defense, x: Tensor, slope: Slope) -> Tensor:
        """The mean displacement, like x."""
        if slope.moved is not None:
            return slope.moved
        draws = draws_of(self.draws, defense.random)
        with torch.no_grad():
            return _mean(defense.purify(repeat(x, draws)), draws) - x


def followed(defense: Defense) -> str:
    """Through what `Exact` goes: `exact` or `bpda`, of a stack of both each part, such as
    `bpda+exact`.
    """
    parts = ["exact" if part.traits.exact else "bpda" for part in defense.purifiers]
    return "+".join(parts if len(set(parts)) > 1 else parts[:1]) or "exact"


def draws_of(draws: int, random: bool) -> int:
    """How many draws say anything: one if the defense is deterministic."""
    return draws if random else 1


def mean_logits(defense: Defense, x: Tensor, draws: int) -> Tensor:
    """The mean logits [B,K] of `draws` single runs on images x [B,C,H,W]."""
    return _mean(defense.logits(repeat(x, draws)), draws)


def voted(defense: Defense, logits: Tensor, draws: int = 1) -> Tensor:
    """The class that `draws` runs choose, replicate-major logits [draws*B,K] to int64 [B].

    A deterministic defense decides by its own number of runs, which are all the same.
    """
    if defense.random:
        return defense.decide(logits, draws)
    return defense.decide(repeat(logits, defense.runs))


def classifier_slope(
    defense: Defense, z: Tensor, y: Tensor, loss: Climbed, together: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient like z, loss [B] and logits [B,K] of the bare classifier, a graph per network chunk.

    together: as in `Single`; the replicates' mean logits then ask one forward more.
    """
    pull = _pull(defense, z, y, loss, together) if together > 1 else None

    def slope(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        point = z[rows].detach().requires_grad_()
        with torch.enable_grad():
            logits = defense.classifier(point)
            values = climbed(loss, logits, y[rows])
            rising = values if pull is None else logits * pull[0][rows]
            (gradient,) = torch.autograd.grad(rising.sum(), point)
        return gradient, values.detach(), logits.detach()

    gradients, losses, outputs = zip(*by_chunks(len(z), slope), strict=True)
    together_loss = torch.cat(losses) if pull is None else pull[1]
    return torch.cat(gradients), together_loss, torch.cat(outputs)


def _pull(
    defense: Defense, z: Tensor, y: Tensor, loss: Climbed, together: int
) -> tuple[Tensor, Tensor]:
    """Of the loss of mean logits: its gradient in each replicate's logits [B,K], and itself [B]."""
    with torch.no_grad():
        logits = defense.classifier(z)
    mean = _mean(logits, together).requires_grad_()
    with torch.enable_grad():
        values = climbed(loss, mean, y[: len(mean)])
        (gradient,) = torch.autograd.grad(values.sum(), mean)
    return repeat(gradient / together, together), repeat(values.detach(), together)


def pulled_back(z: Tensor, x: Tensor, upstream: Tensor) -> Tensor:
    """`upstream` in z as a gradient in x, of which z was made; 0 where it does not depend on it."""
    found = None
    if z.requires_grad:
        (found,) = torch.autograd.grad(z, x, upstream, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def _votes(z: Tensor, gradient: Tensor) -> Tensor:
    """Where one step of VOTE along the sign leads from z inside [0,1], as a displacement."""
    return (z + VOTE * gradient.sign()).clamp(0, 1) - z


def _mean(values: Tensor, draws: int) -> Tensor:
    return values.view(draws, -1, *values.shape[1:]).mean(0)
