"""Plug-ins that misbehave: what they do stays with whoever is measured next."""

from __future__ import annotations

import builtins
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bench.api.ball
import bench.measure.judge
from bench.api import Context, attack, defense
from bench.api.attacked import Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.compute import rng
from bench.measure import build

Act = Callable[[Defense, ThreatModel], object]
COUNT = 0
CALLS: list[int] = []
HELD: list[Any] = []
"""What an act holds on to, so that nothing is undone by being forgotten."""


def set_to(owner: Any, **values: Any) -> object:
    """Past frozen dataclasses too."""
    for name, value in values.items():
        kind = type if isinstance(owner, type) else object
        kind.__setattr__(owner, name, value)
    return owner


def norm(d: Defense) -> nn.BatchNorm2d:
    return next(m for m in d.classifier.modules() if isinstance(m, nn.BatchNorm2d))


def enter(context: Any) -> None:
    HELD.append(context)
    context.__enter__()


def parameters(d: Defense) -> list[nn.Parameter]:
    return list(d.classifier.parameters())


def wrong(*args: Any, **kwargs: Any) -> Tensor:
    return torch.full((32,), -1)


def zero(d: Defense) -> None:
    for p in parameters(d):
        p.data.zero_()


def broken_off(d: Defense) -> None:
    zero(d)
    raise RuntimeError("half way")


def neighbour(d: Defense, change: Callable[[Defense], object]) -> None:
    """Another warm defense of this worker."""
    change(build.defense("none@natural", build.context("digits")))


def wild(d: Defense) -> None:
    for module in d.classifier.modules():
        module.training = True


def swap(d: Defense) -> None:
    inside: Any = d.classifier.module
    inside.network = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def classes_of(d: Defense) -> None:
    for purifier in d.purifiers:
        set_to(type(purifier), forward=lambda s, x: 0 * x)


def unhooked(d: Defense) -> None:
    for module in d.classifier.modules():
        module._forward_pre_hooks.clear()


def doubled(d: Defense) -> None:
    d.classifier.double()


def grad(d: Defense) -> None:
    p = parameters(d)[0].requires_grad_()
    p.grad = torch.ones_like(p)


def global_hook(d: Defense) -> None:
    nn.modules.module.register_module_forward_hook(lambda module, args, out: out * -1)


ACTS: dict[str, Act] = {
    "nothing": lambda d, t: None,
    "train": lambda d, t: d.classifier.train(),
    "train-inside": lambda d, t: d.classifier.module.train(),
    "train-everywhere": lambda d, t: wild(d),
    "weights-zero": lambda d, t: zero(d),
    "weights-negative": lambda d, t: [p.data.neg_() for p in parameters(d)],
    "weights-exchanged": lambda d, t: set_to(parameters(d)[-1], data=-parameters(d)[-1].data),
    "weights-double": lambda d, t: doubled(d),
    "weights-then-error": lambda d, t: broken_off(d),
    "statistics": lambda d, t: norm(d).running_mean.fill_(9.0),  # type: ignore[union-attr]
    "epsilon": lambda d, t: set_to(norm(d), eps=50.0),
    "layer": lambda d, t: swap(d),
    "gradients": lambda d, t: grad(d),
    "no-purifiers": lambda d, t: set_to(d, purifiers=()),
    "predict": lambda d, t: set_to(d, predict=wrong),
    "logits": lambda d, t: set_to(d, logits=lambda x: torch.eye(10)[:1].repeat(len(x), 1)),
    "runs": lambda d, t: set_to(d, runs=7),
    "vote": lambda d, t: set_to(d, vote="majority", random=False),
    "classifier": lambda d, t: set_to(d, classifier=Network(nn.Flatten(), "classifier")),
    "forward": lambda d, t: set_to(d.classifier.module, forward=lambda x: torch.zeros(len(x), 10)),
    "hook": lambda d, t: d.classifier.register_forward_hook(lambda m, a, out: out * -1),
    "hook-before": lambda d, t: norm(d).register_forward_pre_hook(lambda m, a: (a[0] * 0,)),
    "hook-everywhere": lambda d, t: global_hook(d),
    "hooks-gone": lambda d, t: unhooked(d),
    "sigma": lambda d, t: [set_to(p, sigma=9.0) for p in d.purifiers],
    "purifier-class": lambda d, t: [
        set_to(type(p), forward=lambda s, x: 0 * x) for p in d.purifiers
    ],
    "eps": lambda d, t: set_to(t, eps=1.0),
    "threat": lambda d, t: set_to(t, norm="corruption"),
    "contains": lambda d, t: set_to(ThreatModel, contains=lambda s, a, x: torch.ones(len(x)) > 0),
    "tolerance": lambda d, t: set_to(bench.api.ball, TOLERANCE=1.0),
    "judge": lambda d, t: set_to(
        bench.measure.judge, judge=lambda d, p, y, n: wrong()[None, None] == y
    ),
    "defense-class": lambda d, t: set_to(Defense, predict=wrong),
    "network-class": lambda d, t: set_to(Network, forward=lambda s, x: torch.zeros(len(x), 10)),
    "network-call": lambda d, t: set_to(Network, __call__=lambda s, x: torch.zeros(len(x), 10)),
    "norm-class": lambda d, t: set_to(nn.BatchNorm2d, forward=lambda s, x: x * 0),
    "precision": lambda d, t: set_to(Network, precision="bfloat16"),
    "chunk": lambda d, t: set_to(Network, chunk=1),
    "lean": lambda d, t: set_to(Network, lean=True),
    "no-grad": lambda d, t: enter(torch.no_grad()),
    "grad-off": lambda d, t: torch.set_grad_enabled(mode=False),
    "inference": lambda d, t: enter(torch.inference_mode()),
    "autocast": lambda d, t: enter(torch.autocast("cpu", torch.bfloat16)),
    "dtype": lambda d, t: torch.set_default_dtype(torch.float64),
    "device": lambda d, t: torch.set_default_device("meta"),
    "threads": lambda d, t: torch.set_num_threads(2),
    "deterministic": lambda d, t: torch.use_deterministic_algorithms(mode=True),
    "denormal": lambda d, t: torch.set_flush_denormal(bool(1)),
    "mode": lambda d, t: enter(rng.drawn_on_cpu(torch.device("meta"))),
    "work": lambda d, t: enter(rng.work("always the same")),
    "seeds": lambda d, t: (torch.manual_seed(0), np.random.seed(0), random.seed(0)),
    "seeds-held": lambda d, t: enter(rng.seeded("always the same")),
    "folder": lambda d, t: os.chdir("/"),
    "environment": lambda d, t: os.environ.update(BENCH_DATA="/nowhere", BENCH_HOME="/nowhere"),
    "errors": lambda d, t: np.seterr(all="raise"),
    "relu": lambda d, t: set_to(F, relu=lambda x, inplace=False: x),
    "softmax": lambda d, t: set_to(torch.Tensor, log_softmax=lambda x, dim: x),
    "noise": lambda d, t: set_to(torch, randn_like=torch.zeros_like),
    "random": lambda d, t: set_to(random, random=lambda: 0.0),
    "builtins": lambda d, t: set_to(builtins, max=min),
    "seed-of": lambda d, t: set_to(rng, seed_of=lambda *parts: 0),
    "neighbour": lambda d, t: neighbour(d, zero),
    "neighbour-predicts": lambda d, t: neighbour(d, lambda other: set_to(other, predict=wrong)),
    "neighbour-trains": lambda d, t: neighbour(d, wild),
    "images": lambda d, t: build.dataset("digits").images("test").x.zero_(),
    "images-of-training": lambda d, t: build.context("digits").train().zero_(),
}


@dataclass(frozen=True)
class Vandal:
    """Hands over the images as they are, after an act."""

    what: str

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        """The act on what it was given; what its file and class remember is changed too."""
        global COUNT  # noqa: PLW0603  # that is the fault
        points = x.clone()
        remembered = getattr(self, "again", 0) + COUNT + len(CALLS)
        set_to(self, again=1)
        set_to(Vandal, seen=True)
        COUNT += 1
        CALLS.append(1)
        x.zero_()
        y.zero_()
        ACTS[self.what](defense, threat)
        return Attacked(points if not remembered else points * 0)


@attack("vandal")
def vandal(*, what: str = "nothing") -> Vandal:
    """An attack that does something on the side."""
    return Vandal(what)


def counted(p: Remembers, x: Tensor) -> Tensor:
    p.seen += 1
    return x if p.seen == 1 else 0 * x


def listed(p: Remembers, x: Tensor) -> Tensor:
    p.heard.append(1)
    return x if len(p.heard) == 1 else 0 * x


def buffered(p: Remembers, x: Tensor) -> Tensor:
    p.mean.mul_(0.9).add_(x.detach().mean())
    return (x + 0.1 * p.mean).clamp(0, 1)


def scratched(p: Remembers, x: Tensor) -> Tensor:
    p.table += 1
    return x * float(p.table[0] == 1)


def own_generator(p: Remembers, x: Tensor) -> Tensor:
    noise = torch.randn(x.shape, generator=p.generator, dtype=x.dtype)
    return (x + 0.3 * noise).clamp(0, 1)


def own_numpy(p: Remembers, x: Tensor) -> Tensor:
    return (x + 0.3 * torch.from_numpy(p.numpy.normal(size=x.shape)).to(x)).clamp(0, 1)


def in_place(p: Remembers, x: Tensor) -> Tensor:
    return x.add_(0.1 * torch.randn_like(x)).clamp_(0, 1)


def aside(act: Callable[[], object]) -> Callable[[Remembers, Tensor], Tensor]:
    def forward(p: Remembers, x: Tensor) -> Tensor:
        act()
        return x

    return forward


def memoised(p: Remembers, x: Tensor) -> Tensor:
    set_to(p, memo=getattr(p, "memo", 0) + 1)
    return x / float(vars(p)["memo"])


def trained(p: Remembers, x: Tensor) -> Tensor:
    dropped: Tensor = p.train().drop(x)
    return dropped


HABITS: dict[str, Callable[[Remembers, Tensor], Tensor]] = {
    "counter": counted,
    "list": listed,
    "buffer": buffered,
    "array": scratched,
    "generator": own_generator,
    "numpy": own_numpy,
    "in-place": in_place,
    "memo": memoised,
    "seeds": aside(lambda: torch.manual_seed(0)),
    "dtype": aside(lambda: torch.set_default_dtype(torch.float64)),
    "grad": aside(lambda: torch.set_grad_enabled(mode=False)),
    "folder": aside(lambda: os.chdir("/")),
    "relu": aside(lambda: set_to(F, relu=lambda x, inplace=False: x)),
    "file": aside(lambda: CALLS.append(1)),
    "train": trained,
}


class Remembers(Purifier):
    """A purifier with habits."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.seen = what, 0
        self.heard: list[int] = []
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.table = np.zeros(1)
        self.generator = torch.Generator().manual_seed(0)
        self.numpy = np.random.default_rng(0)
        self.drop: nn.Module = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return HABITS[self.what](self, x)


@defense("remembers", traits=lambda settings: Traits(random=True))
def remembers(context: Context, *, what: str = "counter") -> Remembers:
    """A purifier whose next answer depends on the ones before."""
    return Remembers(what)
