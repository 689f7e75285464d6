"""What nobody declared is an error before anything is measured; random classifiers are declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from threading import local

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import api
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.api.register import PLUGINS
from bench.errors import BenchError
from bench.measure import build, probe
from bench.measure.worker import Failure, Setup, Task, measure
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.store import Record
from tests.tiny import Linear, images

GENERATOR = torch.Generator().manual_seed(0)
RANDOM = Traits(random=True)


def seldom(x: Tensor) -> Tensor:
    return x * float(torch.rand(()) < 0.5)


def seeding(x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return (x + 0.1 * torch.randn(x.shape)).clamp(0, 1)


def seeding_numpy(x: Tensor) -> Tensor:
    np.random.seed(0)
    return x * float(np.random.random())


def by_place(x: Tensor) -> Tensor:
    return torch.cat([x[:1], x[1::2] / 2, x[2::2]])


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Traits, str]] = {
    "noise": (lambda x: (x + 0.1 * torch.randn_like(x)).clamp(0, 1), Traits(), "random=True"),
    "dropout": (lambda x: F.dropout(x, 0.1).clamp(0, 1), Traits(), "random=True"),
    "seldom": (seldom, Traits(), "random=True"),
    "own": (lambda x: x * torch.rand(1, generator=GENERATOR), RANDOM, "torch's own generator"),
    "mates": (lambda x: (x - 0.1 * x.mean()).clamp(0, 1), Traits(), "beside other images"),
    "mates, random": (lambda x: x * x.mean() * torch.rand(1), RANDOM, "beside other images"),
    "alone": (lambda x: x / len(x), Traits(), "that is alone"),
    "place": (by_place, Traits(), "at another place"),
    "seeds": (seeding, Traits(), "never seed"),
    "seeds, random": (seeding, RANDOM, "never seed"),
    "seeds numpy": (seeding_numpy, Traits(), "never seed"),
    "grad mode": (lambda x: x / (1 + torch.is_grad_enabled()), Traits(), "gradient is followed"),
    "grad wanted": (lambda x: x / (1 + x.requires_grad), Traits(), "gradient is followed"),
    "grad, random": (lambda x: torch.rand(1) ** (1 + x.requires_grad) * x, RANDOM, "is followed"),
    "one draw": (lambda x: x * torch.rand(1), RANDOM, "draws once for a whole batch"),
    "one coin": (seldom, RANDOM, "draws once for a whole batch"),
    "first": (lambda x: x[:1], Traits(), "gives torch.float32 (1, 1, 4, 4)"),
    "type": (lambda x: x.double(), Traits(), "torch.float64"),
    "range": (lambda x: x * 3, Traits(), "in [0,1]"),
    "nan": (lambda x: x / 0 * 0, Traits(), "NaN"),
}


class Toy(Purifier):
    def __init__(self, function: Callable[[Tensor], Tensor], traits: Traits) -> None:
        super().__init__()
        self.function, self.traits = function, traits

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def classifier(*, p: float = 0.0, random: bool = False) -> Network:
    weight = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(Drops(p), Linear(weight))
    return Network(network, "classifier", random=random)


class Drops(nn.Module):
    """Dropout that stays on."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=self.p > 0)


@pytest.mark.parametrize("case", CASES)
def test_a_purifier_is_what_it_says(case: str) -> None:
    function, traits, words = CASES[case]
    defense = Defense(classifier(), [Toy(function, traits)])
    with pytest.raises(BenchError) as error:
        probe.require(defense, images, "toy")
    assert words in str(error.value)
    assert str(error.value).startswith("toy")


def test_what_is_declared_passes() -> None:
    noise = Toy(CASES["noise"][0], RANDOM)
    for defense in (Defense(classifier()), Defense(classifier(), [noise])):
        probe.require(defense, images, "toy")
    probe.require(Defense(classifier(p=0.3, random=True)), images, "toy")


def test_a_random_classifier_is_declared() -> None:
    with pytest.raises(BenchError, match=r"@classifier\(\.\.\., random=True\)"):
        probe.require(Defense(classifier(p=0.3)), images, "toy")
    assert Defense(classifier(p=0.3, random=True)).random


ANSWERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "place": (lambda a: a * (1 - 2 * (torch.arange(len(a)) % 2))[:, None], "at another place"),
    "seeds": (seeding, "never seed"),
    "gradient": (lambda a: a.flip(1) if torch.is_grad_enabled() else a, "gradient is followed"),
    "whole numbers": (lambda a: a.long(), "logits are floats"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_classifier_is_what_it_says(case: str) -> None:
    function, words = ANSWERS[case]
    network = Network(nn.Sequential(classifier().module, Lambda(function)), "classifier")
    with pytest.raises(BenchError, match=words):
        probe.require(Defense(network), images, "toy")


def test_an_approximate_purifier_never_meets_a_gradient() -> None:
    purifier = Toy(CASES["grad mode"][0], Traits(exact=False))
    probe.require(Defense(classifier(), [purifier]), images, "toy")


def cached() -> int:
    _cache().append(0)
    return len(_cache())


def of_thread() -> int:
    HERE.calls = getattr(HERE, "calls", 0) + 1
    return int(HERE.calls)


_cache, HERE = cache(bytearray), local()
REMEMBERED: dict[str, Callable[[], int]] = {
    "nothing": lambda: 0,
    "iterator": count().__next__,
    "cache": cached,
    "thread": of_thread,
}


@pytest.mark.parametrize("case", REMEMBERED)
def test_what_a_defense_remembers_where_nothing_is_put_back_is_a_failure(case: str) -> None:
    calls = REMEMBERED[case]
    purifier = Toy(lambda x: x if calls() < 30 else 1 - x, Traits())
    defense = Defense(classifier(), [purifier])
    probe.require(defense, images, "toy")
    for _ in range(40):
        defense.predict(images())
    if case == "nothing":
        probe.require_unchanged(defense, "toy")
        return
    with pytest.raises(BenchError, match="keeps something between calls"):
        probe.require_unchanged(defense, "toy")


def test_a_network_of_the_wrong_length_is_refused() -> None:
    network = Network(nn.Sequential(nn.Flatten(0)), "classifier")
    with pytest.raises(BenchError, match="for 8 images"):
        network(images())


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two classifiers with dropout, one of which says so."""
    api.load()
    monkeypatch.setitem(PLUGINS, "classifier", dict(PLUGINS["classifier"]))
    build.forget()

    def made(context: api.Context) -> nn.Module:
        """The natural classifier of images that lose pixels."""
        return nn.Sequential(Drops(0.3), build.classifier("natural", context))

    api.classifier("says-so", random=True, weights=lambda settings: ("natural",))(made)
    api.classifier("says-nothing", weights=lambda settings: ("natural",))(made)
    yield
    build.forget()


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_a_classifier_is_attacked_as_random_where_its_settings_say_so(
    dropping: None, p: float
) -> None:
    def made(context: api.Context, *, p: float = 0.3) -> nn.Module:
        """The natural classifier of images that may lose pixels."""
        return nn.Sequential(Drops(p), build.classifier("natural", context))

    api.classifier("at-times", random=lambda settings: float(settings["p"]) > 0)(made)
    network = build.network_of(f"at-times:p={p}", build.context("digits", "cpu"))
    assert Defense(network).random == (p > 0)


def test_a_random_classifier_is_judged_by_draws_and_attacked_by_eot(dropping: None) -> None:
    asked = Request(
        ["none@says-so", "none@says-nothing"],
        ["clean", "adaptive"],
        "digits",
        images=32,
        preset="quick",
        controls=[],
    )
    cells = make(asked)[0].cells
    eot = {p.defense for p in cells if p.attack == "bpda-eot"}
    assert eot == {"none@says-so"}
    for planned in cells:
        if planned.attack == "clean":
            found = measure(Task(planned, 0, "quick", Setup()))
            if planned.defense == "none@says-so":
                assert isinstance(found, Record)
                assert found.draws > 1
                assert len(set(found.correct)) > 1
            else:
                assert isinstance(found, Failure)
                assert "random=True" in found.reason
