"""What an attack may know of a defense: purifiers in front of a classifier.

Plug-ins find `Network`, the door to neural networks (bench/compute/network.py), here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.compute.network import Network, by_chunks, chunk_size
from bench.errors import BenchError, unknown

__all__ = [
    "CLASSIFIER",
    "Answer",
    "Defense",
    "Network",
    "Purifier",
    "Traits",
    "by_chunks",
    "chunk_size",
    "repeat",
]


class Answer(NamedTuple):
    """decided: the deployed class, int64 [B]. scores: log mean softmax, [B,K]."""

    decided: Tensor
    scores: Tensor


VOTES = ("softmax", "majority")


@dataclass(frozen=True)
class Traits:
    """What planning must know of a defense, as a function of its settings; no weights needed.

    random: two calls may differ. exact: autograd through `forward` is the gradient of what it
    computes (a method's own detached quantities excepted). direction / surrogate / one_step: the
    method of that name exists. runs: S, the purifications inside one prediction. identity: it
    leaves images as they are (the bare classifier). vote: how those S are decided, by the mean of
    their softmax or by the majority of their classes. copies: K of `vote=K`, the deployment rule
    that was typed: the plurality of K purified copies, in place of the method's own runs and vote;
    0 where none was.
    """

    random: bool = False
    exact: bool = True
    direction: bool = False
    surrogate: bool = False
    one_step: bool = False
    runs: int = 1
    identity: bool = False
    vote: Literal["softmax", "majority"] = "softmax"
    copies: int = 0

    def __post_init__(self) -> None:
        """Refuse what no prediction can be made by."""
        if not isinstance(self.runs, int) or self.runs < 1:
            raise BenchError(f"Traits(runs={self.runs!r}): needs a whole number from 1 on")
        if self.vote not in VOTES:
            raise unknown("vote", str(self.vote), VOTES)

    def voting(self, copies: int) -> Traits:
        """The same method deployed as the plurality of so many copies; 0 for its own rule."""
        return replace(self, runs=copies, vote="majority", copies=copies) if copies else self

    @classmethod
    def merge(cls, parts: Iterable[Traits]) -> Traits:
        """The traits of a stack: random, or with a direction, surrogate or step, if any part is.

        exact if any part that changes images is: the others pass gradients on. S is the largest.
        A majority is taken if any part asks for it. K of `vote=K` replaces every part's runs.

        Raises:
            BenchError: two parts ask for a vote of other numbers of copies.
        """
        parts = tuple(parts)
        votes = {part.copies for part in parts if part.copies}
        if len(votes) > 1:
            raise BenchError(f"vote={min(votes)} and vote={max(votes)} in one defense: type one")
        exact = [part.exact for part in parts if not part.identity]
        return cls(
            random=any(part.random for part in parts),
            exact=any(exact) or not exact,
            direction=any(part.direction for part in parts),
            surrogate=any(part.surrogate for part in parts),
            one_step=any(part.one_step for part in parts),
            runs=max((part.runs for part in parts), default=1),
            identity=all(part.identity for part in parts),
            vote="majority" if any(part.vote == "majority" for part in parts) else "softmax",
        ).voting(max(votes, default=0))


class Purifier(nn.Module):
    """Cleans images before they are classified. One class per method; see CONTRIBUTING.md.

    `traits` is set by the harness from what the plug-in declares. What a purifier is called with
    is a copy, which it may write into.
    """

    traits = Traits()

    def __call__(self, x: Tensor) -> Any:
        """One random run, on a copy of `x`."""
        return super().__call__(x.clone())

    def forward(self, x: Tensor) -> Tensor:
        """One random run of the purification, [B,C,H,W] in [0,1] to the same."""
        raise NotImplementedError

    def surrogate(self, x: Tensor) -> Tensor:
        """A differentiable stand-in for `forward` (only with the trait `surrogate`)."""
        raise BenchError(f"{type(self).__name__} has no surrogate")

    def one_step(self, x: Tensor) -> Tensor:
        """`forward` with `steps=1`, differentiable (only with the trait `one_step`)."""
        raise BenchError(f"{type(self).__name__} has no single step")

    def direction(self, x: Tensor) -> Tensor:
        """Where purification wants to move `x`, like x (only with the trait `direction`)."""
        raise BenchError(f"{type(self).__name__} has no direction")


class Defense:
    """Purifiers in order, then a classifier; the deployed rule is a vote of S runs."""

    def __init__(self, classifier: Network, purifiers: Sequence[Purifier] = ()) -> None:
        """`random` is of all together; `runs`, `exact`, `vote`, `copies` are those of the stack
        (`Traits.merge`).
        """
        self.classifier = classifier
        self.purifiers = tuple(purifiers)
        merged = Traits.merge(purifier.traits for purifier in self.purifiers)
        self.runs, self.exact = merged.runs, merged.exact
        self.random = merged.random or classifier.random
        self.vote, self.copies = merged.vote, merged.copies

    def purify(self, x: Tensor) -> Tensor:
        """One run of every purifier, [B,C,H,W] in [0,1]; differentiable where each part is exact.

        A part without an exact gradient passes gradients on unchanged (BPDA identity).
        """
        for purifier in self.purifiers:
            x = _run(purifier, x)
        return x

    def surrogate(self, x: Tensor) -> Tensor:
        """`purify` with every part's differentiable stand-in, where it has one."""
        for purifier in self.purifiers:
            x = purifier.surrogate(x.clone()) if purifier.traits.surrogate else _run(purifier, x)
        return x

    def one_step(self, x: Tensor) -> Tensor:
        """`purify` with the first step only of every part that has steps."""
        for purifier in self.purifiers:
            x = purifier.one_step(x.clone()) if purifier.traits.one_step else _run(purifier, x)
        return x

    def direction(self, x: Tensor) -> Tensor:
        """The direction of the first part that has one; zeros without any (bare classifiers)."""
        for purifier in self.purifiers:
            if purifier.traits.direction:
                return purifier.direction(x.clone())
        return torch.zeros_like(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits [B,K] of one run with fresh randomness."""
        logits: Tensor = self.classifier(self.purify(x))
        return logits

    def scores(self, x: Tensor, runs: int | None = None) -> Tensor:
        """Log of the mean softmax over S fresh runs, [B,K], whatever the vote is."""
        runs = runs or self.runs
        return _mean_softmax(self.logits(repeat(x, runs)), runs)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The deployed decision, int64 [B]."""
        return self.decide(self.logits(repeat(x, self.runs)))

    @torch.no_grad()
    def answer(self, x: Tensor, runs: int | None = None) -> Answer:
        """Decision and scores of the same S fresh runs."""
        runs = runs or self.runs
        logits = self.logits(repeat(x, runs))
        scores = _mean_softmax(logits, runs)
        shares = scores if self.vote == "softmax" else self.shares(logits, runs)
        return Answer(shares.argmax(1), scores)

    def decide(self, logits: Tensor, runs: int | None = None) -> Tensor:
        """What S runs decide, replicate-major logits [S*B,K] to int64 [B].

        An image is broken where this is not its label, and only there. A tie goes to the lowest
        class index.
        """
        return self.shares(logits, runs).argmax(1)

    def shares(self, logits: Tensor, runs: int | None = None) -> Tensor:
        """What S runs decide by, replicate-major logits [S*B,K] to [B,K].

        The log of their mean softmax, or how many of them chose a class.
        """
        runs = runs or self.runs
        if self.vote == "softmax":
            return _mean_softmax(logits, runs)
        votes = F.one_hot(logits.argmax(1), logits.shape[1])
        return votes.view(runs, -1, logits.shape[1]).sum(0)

    def networks(self) -> list[Network]:
        """Every network once, the classifier first; parts of a stack may share a name."""
        parts = (module for purifier in self.purifiers for module in purifier.modules())
        networks = (self.classifier, *(part for part in parts if isinstance(part, Network)))
        return list(dict.fromkeys(networks))

    def calls(self) -> dict[str, tuple[int, int]]:
        """Images seen so far by the networks of each name: (forward, backward)."""
        calls: dict[str, tuple[int, int]] = {}
        for net in self.networks():
            forwards, backwards = calls.get(net.name, (0, 0))
            calls[net.name] = (forwards + net.forwards, backwards + net.backwards)
        return calls


def _mean_softmax(logits: Tensor, runs: int) -> Tensor:
    log_p = logits.log_softmax(1)
    if runs == 1:
        return log_p
    log_p = log_p.view(runs, -1, logits.shape[1])
    return log_p.logsumexp(0) - torch.tensor(float(runs), device=logits.device).log()


def _run(purifier: Purifier, x: Tensor) -> Tensor:
    if purifier.traits.exact or not torch.is_grad_enabled():
        purified: Tensor = purifier(x)
        return purified
    with torch.no_grad():
        moved: Tensor = purifier(x.detach()) - x.detach()
    return x + moved


def repeat(x: Tensor, times: int) -> Tensor:
    """`x` [B,...] `times` times over, replicate-major: [times*B,...]."""
    return x if times == 1 else x.repeat(times, *[1] * (x.dim() - 1))


CLASSIFIER = "classifier"
"""The name under which a defense's classifier counts its calls."""
