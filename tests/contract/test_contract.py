"""The contract holds for every plug-in, and it catches plug-ins that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import api, contract
from bench.api import register
from bench.api.attacked import Attack, Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.errors import BenchError
from bench.measure import build

KINDS = ("defense", "attack", "classifier")


FITTING = [
    (kind, name) for kind in KINDS for name in api.names(kind) if not contract.unfit(name, "digits")
]


@pytest.mark.parametrize(("kind", "name"), FITTING)
def test_every_plugin_meets_the_contract(kind: str, name: str) -> None:
    results = contract.check(name, "digits")
    assert results
    assert [result for result in results if not result.ok] == []


def test_only_what_says_so_is_left_out_of_the_contract() -> None:
    """VGG halves images five times, so that nothing is left of 16 pixels."""
    every = {(kind, name) for kind in KINDS for name in api.names(kind)}
    assert ("classifier", "vgg") in every - set(FITTING)
    assert "too often for digits" in contract.unfit("vgg", "digits")
    assert not contract.unfit("natural", "digits")


SETTINGS = (
    *("adp:sigma=0,rule=fixed", "adp:stop=norm", "adp:detect=5", "adp:rule=langevin,alpha=0"),
    *("scoreopt-o:lr=0", "scoreopt-n:lr=0"),
)


@pytest.mark.parametrize("spec", SETTINGS)
def test_settings_meet_the_contract(spec: str) -> None:
    assert [result for result in contract.check(spec, "digits") if not result.ok] == []


class Toy(Purifier):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Hidden(Toy):
    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.layer = nn.Linear(1, 1)


class Running(Toy):
    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()(x)
        return x


class Undeclared(Toy):
    def direction(self, x: Tensor) -> Tensor:
        return x


def numpy_noise(x: Tensor) -> Tensor:
    return (x + 0.1 * torch.from_numpy(np.random.default_rng().random(x.shape)).float()).clamp(0, 1)


def mixing(x: Tensor) -> Tensor:
    return (0.9 * x + 0.05 * torch.rand_like(x)) * x.mean()


def detached(x: Tensor) -> Tensor:
    return x * 0.5 + (x * 0.4).detach()


BROKEN: dict[str, tuple[Callable[[], Purifier], Traits, str]] = {
    "out of range": (lambda: Toy(lambda x: x * 2 - 0.5), Traits(), "images"),
    "nan": (lambda: Toy(lambda x: x / 0 * 0), Traits(), "images"),
    "dtype": (lambda: Toy(Tensor.double), Traits(), "images"),
    "memory": (Running, Traits(), "leaves"),
    "numpy": (lambda: Toy(numpy_noise), Traits(random=True), "seed"),
    "not random": (lambda: Toy(lambda x: x), Traits(random=True), "random"),
    "random": (lambda: Toy(lambda x: torch.rand_like(x) * x), Traits(), "random"),
    "batch": (lambda: Toy(lambda x: x * x.mean()), Traits(), "batch"),
    "random batch": (lambda: Toy(mixing), Traits(random=True), "batch"),
    "rounded": (lambda: Toy(lambda x: (x * 9).round() / 9), Traits(), "gradient"),
    "detached": (lambda: Toy(detached), Traits(), "gradient"),
    "no graph": (lambda: Toy(Tensor.detach), Traits(), "gradient"),
    "no direction": (lambda: Toy(lambda x: x), Traits(direction=True), "direction"),
    "undeclared": (lambda: Undeclared(lambda x: x), Traits(), "direction"),
    "uncounted": (Hidden, Traits(), "networks"),
    "raises": (lambda: Toy(lambda x: x[:, 7]), Traits(), "images"),
}


def test_a_purifier_may_write_into_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    api.load()
    monkeypatch.setitem(register.PLUGINS, "defense", dict(register.PLUGINS["defense"]))

    @api.defense("writing-toy")
    def toy(context: api.Context) -> Purifier:
        """A purifier that works in place."""
        return Toy(lambda x: x.mul_(0.5))

    assert [result for result in contract.check("writing-toy") if not result.ok] == []


@pytest.mark.parametrize("case", BROKEN)
def test_the_contract_catches(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factory, traits, check = BROKEN[case]
    api.load()
    monkeypatch.setitem(register.PLUGINS, "defense", dict(register.PLUGINS["defense"]))

    @api.defense("broken-toy", traits=lambda settings: traits)
    def toy(context: api.Context) -> Purifier:
        """A purifier that breaks one rule."""
        return factory()

    failed = {result.name for result in contract.check("broken-toy") if not result.ok}
    assert check in failed


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({}, "a run: 1 calls of 'toy'"),
        ({"calls": lambda settings: {"toy": 1}}, "a direction: 1 calls of 'toy'"),
        (
            {
                "calls": lambda settings: {"toy": 1},
                "gradient_calls": lambda settings: {"toy": (0, 0)},
            },
            "an exact gradient: 1 backward calls of 'toy'",
        ),
    ],
)
def test_the_contract_catches_calls_that_were_not_declared(
    declared: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.load()
    monkeypatch.setitem(register.PLUGINS, "defense", dict(register.PLUGINS["defense"]))

    class Asking(Toy):
        def direction(self, x: Tensor) -> Tensor:
            return self.function(x)

    @api.defense("broken-toy", traits=lambda settings: Traits(direction=True), **declared)
    def toy(context: api.Context) -> Purifier:
        """A purifier that asks a network more often than it says."""
        network = context.network(nn.Sigmoid(), "toy")
        made = Asking(network)
        made.network = network
        return made

    (calls,) = [result for result in contract.check("broken-toy") if result.name == "calls"]
    assert not calls.ok
    assert calls.detail.startswith(says)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (lambda z: z, ""),
        (lambda z: z.softmax(1), "these are probabilities, not logits"),
        (lambda z: 1e6 * z, "logits so large that softmax has one class"),
    ],
)
def test_the_contract_catches_classifiers_whose_outputs_are_no_logits(
    after: Callable[[Tensor], Tensor], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.load()
    monkeypatch.setitem(register.PLUGINS, "classifier", dict(register.PLUGINS["classifier"]))

    class Outputs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return after(x.flatten(1)[:, :10])

    @api.classifier("broken-toy")
    def toy(context: api.Context) -> nn.Module:
        """A classifier that answers in something else."""
        return Outputs()

    (logits,) = [r for r in contract.check("broken-toy", "digits") if r.name == "logits"]
    assert logits.detail.startswith(says) if says else logits.ok


@dataclass(frozen=True)
class Leap:
    """Moves every pixel by `by`, plus noise that no seed decides."""

    by: float = 0.0
    noise: float = 0.0

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        noise = torch.from_numpy(np.random.default_rng().random(x.shape)).float()
        return Attacked((x + self.by + self.noise * noise).clamp(0, 1))


class Zeroing(Leap):
    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        for parameter in defense.classifier.parameters():
            parameter.data.zero_()
        return Attacked(x)


@dataclass(frozen=True)
class Training:
    """Leaves the network in training mode, after writing into all that it was given."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        defense.classifier.module.train()
        y.zero_()
        return Attacked(x.mul_(0.9999))


def test_an_attack_may_write_into_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    api.load()
    monkeypatch.setitem(register.PLUGINS, "attack", dict(register.PLUGINS["attack"]))
    build._attack.cache_clear()
    api.attack("writing-toy")(Training)
    assert [result for result in contract.check("writing-toy") if not result.ok] == []
    build._attack.cache_clear()


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Leap(by=0.5), "inside linf:0.05"),
        (Leap(noise=0.04), "seed linf:0.05"),
        (Zeroing(), "inside linf:0.05"),
        (lambda defense, x, y, threat: Attacked(x), "frozen"),
        (lambda defense, x, y, threat: Attacked(x * float("nan")), "inside linf:0.05"),
        (lambda defense, x, y, threat: x, "inside linf:0.05"),
    ],
)
def test_the_contract_catches_attacks(
    broken: Attack, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.load()
    monkeypatch.setitem(register.PLUGINS, "attack", dict(register.PLUGINS["attack"]))
    build._attack.cache_clear()

    @api.attack("broken-toy", norms=("linf",))
    def toy() -> Attack:
        """An attack that breaks one rule."""
        return broken

    failed = {result.name for result in contract.check("broken-toy") if not result.ok}
    build._attack.cache_clear()
    assert check in failed


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'wiener'"):
        contract.check("wienner")
    with pytest.raises(BenchError, match="no setting 'sigmaa'"):
        contract.check("wiener:sigmaa=1")
