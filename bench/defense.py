"""What an attack may know of a defense: purifiers in front of a classifier.

`Network` is the only door to a neural network: it splits batches into chunks, counts calls and
refuses NaN. Randomness never depends on the chunk, because noise is drawn outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import BenchError


@dataclass(frozen=True)
class Traits:
    """What planning must know of a defense, as a function of its settings; no weights needed.

    random: two calls may differ. exact: autograd through `forward` is the gradient of what it
    computes (a method's own detached quantities excepted). direction / surrogate: the method of
    that name exists. runs: S, the purifications inside one prediction. identity: it leaves images
    as they are (the bare classifier). vote: how those S are decided, by the mean of their softmax
    or by the majority of their classes.
    """

    random: bool = False
    exact: bool = True
    direction: bool = False
    surrogate: bool = False
    runs: int = 1
    identity: bool = False
    vote: Literal["softmax", "majority"] = "softmax"

    @classmethod
    def merge(cls, parts: Iterable[Traits]) -> Traits:
        """The traits of a stack: random, or with a direction or surrogate, if any part is.

        exact if any part that changes images is: the others pass gradients on. S is the largest.
        A majority is taken if any part asks for it.
        """
        parts = tuple(parts)
        exact = [part.exact for part in parts if not part.identity]
        return cls(
            random=any(part.random for part in parts),
            exact=any(exact) or not exact,
            direction=any(part.direction for part in parts),
            surrogate=any(part.surrogate for part in parts),
            runs=max((part.runs for part in parts), default=1),
            identity=all(part.identity for part in parts),
            vote="majority" if any(part.vote == "majority" for part in parts) else "softmax",
        )


class Network(nn.Module):
    """A frozen network that is called in chunks of images and counts what it was asked.

    `forwards` and `backwards` count images, not calls. Tensor arguments with a batch dimension
    are split like the first one.
    """

    chunk = 32

    def __init__(
        self, module: nn.Module, name: str, call: Callable[..., Tensor] | None = None
    ) -> None:
        """Wrap `module` (its method `call` when given), freeze it and put it in eval mode."""
        super().__init__()
        # The faster layout of convolutions on every device, always: one definition, one rounding.
        self.module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name
        self.forwards = 0
        self.backwards = 0
        self._call = call or module

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        """The network's output for all of `x` [B,...].

        Raises:
            BenchError: the network gave NaN or infinity.
        """
        outputs = [self._one(*chunk) for chunk in self._chunks(x, args)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _chunks(self, x: Tensor, args: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, max(len(x), 1), self.chunk):
            part = slice(start, start + self.chunk)
            rest = (a[part] if a.dim() and len(a) == len(x) else a for a in args)
            yield (x[part], *rest)

    def _one(self, x: Tensor, *args: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        out = self._call(x, *args)
        if not torch.isfinite(out).all():
            raise BenchError(f"network '{self.name}' gave NaN or infinite values")
        if out.requires_grad:
            out.register_hook(self._count)
        return out

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Purifier(nn.Module):
    """Cleans images before they are classified. One class per method; see CONTRIBUTING.md.

    `traits` is set by the harness from what the plug-in declares.
    """

    traits = Traits()

    def forward(self, x: Tensor) -> Tensor:
        """One random run of the purification, [B,C,H,W] in [0,1] to the same."""
        raise NotImplementedError

    def surrogate(self, x: Tensor) -> Tensor:
        """A differentiable stand-in for `forward` (only with the trait `surrogate`)."""
        raise BenchError(f"{type(self).__name__} has no surrogate")

    def direction(self, x: Tensor) -> Tensor:
        """Where purification wants to move `x`, like x (only with the trait `direction`)."""
        raise BenchError(f"{type(self).__name__} has no direction")


class Defense:
    """Purifiers in order, then a classifier; the deployed rule is a vote of S runs."""

    def __init__(self, classifier: Network, purifiers: Sequence[Purifier] = ()) -> None:
        """`runs` (S), `random`, `exact` and `vote` are those of the stack (`Traits.merge`)."""
        self.classifier = classifier
        self.purifiers = tuple(purifiers)
        merged = Traits.merge(purifier.traits for purifier in self.purifiers)
        self.runs, self.random, self.exact = merged.runs, merged.random, merged.exact
        self.vote = merged.vote

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
            x = purifier.surrogate(x) if purifier.traits.surrogate else _run(purifier, x)
        return x

    def direction(self, x: Tensor) -> Tensor:
        """The direction of the first part that has one; zeros without any (bare classifiers)."""
        for purifier in self.purifiers:
            if purifier.traits.direction:
                return purifier.direction(x)
        return torch.zeros_like(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits [B,K] of one run with fresh randomness."""
        logits: Tensor = self.classifier(self.purify(x))
        return logits

    def scores(self, x: Tensor, runs: int | None = None) -> Tensor:
        """Log of the mean softmax over S fresh runs, [B,K], whatever the vote is."""
        runs = runs or self.runs
        logits = self.logits(repeat(x, runs))
        log_p = logits.log_softmax(1).view(runs, len(x), -1)
        return log_p.logsumexp(0) - torch.tensor(float(runs), device=x.device).log()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The deployed decision, int64 [B]; a tie goes to the lowest class index."""
        if self.vote == "softmax":
            return self.scores(x).argmax(1)
        logits = self.logits(repeat(x, self.runs))
        votes = F.one_hot(logits.argmax(1), logits.shape[1])
        return votes.view(self.runs, len(x), -1).sum(0).argmax(1)

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


@contextmanager
def chunk_size(images: int) -> Iterator[None]:
    """Network calls of at most `images` images inside the block.

    Raises:
        BenchError: not a positive multiple of 32 (a shard).
    """
    if images <= 0 or images % 32:
        raise BenchError(f"chunk {images} is not a positive multiple of 32")
    before, Network.chunk = Network.chunk, images
    try:
        yield
    finally:
        Network.chunk = before
