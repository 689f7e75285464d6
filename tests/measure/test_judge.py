from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.gradients import Blind
from attacks.pgd import PGD
from bench.api.attacked import ABSTAINED, Attacked, Certificate, Trace
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute import rng
from bench.errors import BenchError
from bench.measure.judge import eight_bits, evaluate
from tests.api.test_purifier import Noise, defense, x

LINF = ThreatModel("linf", 0.1)


@dataclass(frozen=True)
class Move:
    by: float

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        defense.predict(x)
        first, last = torch.zeros(len(x)), torch.ones(len(x))
        rises = torch.stack([first, last])
        trace = Trace(rises, rises, rises.flip(0))
        return Attacked((x + self.by * torch.rand_like(x)).clamp(max=1.0), trace=trace)


def test_verdicts_calls_and_trace() -> None:
    d = defense(Noise())
    y = d.predict(x())
    outcome = evaluate(d, Move(0.1), x(), y, LINF, draws=3, key="a")
    assert outcome.correct.shape == (1, 3, 5)
    assert outcome.distance.shape == (5,)
    assert (outcome.distance <= 0.1 + 1e-6).all()
    assert outcome.calls["classifier"] == {"attack": (20, 0), "judge": (60, 0)}
    assert outcome.trace["zero_gradients"] == (0.5,) * 5
    assert outcome.trace["first_cosine"] == outcome.trace["last_loss"] == (1.0,) * 5
    assert outcome.trace["last_cosine"] == outcome.trace["first_loss"] == (0.0,) * 5


def test_calls_before_are_not_counted_again() -> None:
    d, y = defense(Noise()), torch.zeros(5, dtype=torch.long)
    attack = PGD(Blind(), steps=2)
    first, again = (evaluate(d, attack, x(), y, LINF, key="a").calls for _ in range(2))
    assert first == again
    assert first["classifier"]["attack"] == (10, 10)


def test_seconds_are_the_processors_and_not_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = SimpleNamespace(process_time=iter([3.0, 5.5]).__next__)
    monkeypatch.setattr("bench.measure.judge.time", clocks)
    outcome = evaluate(defense(), Move(0.1), x(), torch.zeros(5, dtype=torch.long), LINF, key="a")
    assert outcome.seconds == 2.5


def test_the_work_decides_the_numbers_and_nothing_else() -> None:
    d = defense(Noise())
    y = d.predict(x())
    first = evaluate(d, Move(0.1), x(), y, LINF, draws=6, key="a")
    torch.rand(3)
    again = evaluate(d, Move(0.1), x(), y, LINF, draws=6, key="a")
    other = evaluate(d, Move(0.1), x(), y, LINF, draws=6, key="b")
    assert torch.equal(first.correct, again.correct)
    assert torch.equal(first.attacked.x_adv, again.attacked.x_adv)
    assert not torch.equal(first.attacked.x_adv, other.attacked.x_adv)


def test_an_attack_cannot_draw_what_the_judge_will_draw() -> None:
    @dataclass(frozen=True)
    class Curious:
        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            with rng.stream("judge", 0):
                return Attacked(x)

    y = torch.zeros(5, dtype=torch.long)
    with pytest.raises(BenchError, match="streams attack, select, and not from 'judge'"):
        evaluate(defense(Noise()), Curious(), x(), y, LINF, key="a")
    diagnostic = ThreatModel.parse("known:linf:0.1")
    assert evaluate(defense(Noise()), Curious(), x(), y, diagnostic, key="a").correct.shape[2] == 5


def test_the_judge_draws_afresh_whatever_the_attack_drew() -> None:
    """Two attacks that differ only in how much randomness they use face the same judge."""

    @dataclass(frozen=True)
    class Greedy:
        draws: int

        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            torch.rand(self.draws)
            return Attacked(x)

    d = defense(Noise())
    y = d.predict(x())
    rows = [evaluate(d, Greedy(n), x(), y, LINF, draws=8, key="a").correct for n in (1, 50)]
    assert torch.equal(*rows)


@pytest.mark.parametrize("by", [0.2, float("nan")])
def test_a_violation_is_an_error(by: float) -> None:
    with pytest.raises(BenchError, match="broke its threat model"):
        evaluate(defense(), Move(by), x(), torch.zeros(5, dtype=torch.long), LINF)


def test_leaving_the_unit_range_is_an_error() -> None:
    @dataclass(frozen=True)
    class Out:
        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            return Attacked(x - 0.09)

    with pytest.raises(BenchError, match="pixels in"):
        evaluate(defense(), Out(), x() * 0.05, torch.zeros(5, dtype=torch.long), LINF)


def test_variants_are_judged_one_by_one() -> None:
    @dataclass(frozen=True)
    class Two:
        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            return Attacked(torch.stack([x, 1 - x]), variants=("same", "negative"))

    d = defense()
    y = d.predict(x())
    outcome = evaluate(d, Two(), x(), y, ThreatModel.parse("corruption"), draws=1)
    assert outcome.correct.shape == (2, 1, 5)
    assert outcome.correct[0].all()
    assert torch.equal(outcome.correct[1, 0], d.predict(1 - x()) == y)


def test_what_an_attack_writes_into_its_arguments_changes_no_check() -> None:
    @dataclass(frozen=True)
    class Careless:
        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            y.fill_(0)
            return Attacked(x.fill_(0.5))

    images = x()
    with pytest.raises(BenchError, match="broke its threat model"):
        evaluate(defense(), Careless(), images, torch.ones(5, dtype=torch.long), LINF)
    assert torch.equal(images, x())


def test_points_in_8_bits_are_judged_on_the_draws_of_the_points() -> None:
    """Rounding and nothing else is between the two verdicts."""
    d = defense(Noise())
    y = d.predict(x())
    found = evaluate(d, Move(0.1), x(), y, LINF, draws=6, key="a", rounded=True)
    plain = evaluate(d, Move(0.1), x(), y, LINF, draws=6, key="a")
    assert found.rounded is not None
    assert torch.equal(found.correct, plain.correct)
    assert (found.calls, plain.rounded) == (plain.calls, None)

    @dataclass(frozen=True)
    class There:
        points: Tensor

        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            return Attacked(self.points)

    grid = eight_bits(found.attacked.x_adv)
    assert torch.equal(grid, (grid * 255).round() / 255)
    wide = ThreatModel("linf", 0.2)
    again = evaluate(d, There(grid), x(), y, wide, draws=6, key="a", rounded=True)
    assert torch.equal(found.rounded, again.correct)
    assert again.rounded is not None
    assert torch.equal(again.rounded, again.correct)


def test_an_attack_of_less_than_half_a_level_does_not_survive_8_bits() -> None:
    @dataclass(frozen=True)
    class Tiny:
        def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
            return Attacked(x + 0.4 / 255)

    class Fine(nn.Module):
        """Class 1 from level 100.2 on."""

        def forward(self, x: Tensor) -> Tensor:
            above = x.flatten(1).mean(1) - 100.2 / 255
            return torch.stack([-above, above], 1)

    bare = Defense(Network(Fine(), "classifier"))
    flat = torch.full((3, 1, 4, 4), 100 / 255)
    found = evaluate(bare, Tiny(), flat, torch.zeros(3, dtype=torch.long), LINF, rounded=True)
    assert found.rounded is not None
    assert not found.correct.any()
    assert found.rounded.all()


@dataclass(frozen=True)
class Proven:
    """Certificates for the classes 0, 1 and none."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        labels = torch.tensor([0, 1, ABSTAINED])
        return Attacked(x, certificate=Certificate(labels, labels, labels.float()))


def test_a_certificate_is_the_verdict() -> None:
    y = torch.tensor([0, 0, 0])
    threat = ThreatModel.parse("certified")
    outcome = evaluate(defense(Noise()), Proven(), x()[:3], y, threat, draws=2)
    assert outcome.correct.tolist() == [[[True, False, False]]]
    assert outcome.calls["classifier"]["judge"] == (0, 0)


class Wishful(torch.Tensor):
    """Equal to everything."""

    def __eq__(self, other: object) -> Any:
        return torch.ones(len(self), dtype=torch.bool)

    __hash__ = torch.Tensor.__hash__


@dataclass(frozen=True)
class Hands:
    """Hands over what a function makes of the images."""

    make: Callable[[Tensor], Any]
    variants: tuple[str, ...] = ()

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        return Attacked(self.make(x), variants=self.variants)


def test_no_class_of_an_attack_or_a_classifier_answers_for_the_judge() -> None:
    images, wrong = x(), torch.full((len(x()),), 9)
    wishful = Hands(lambda x: x.as_subclass(Wishful))
    assert not evaluate(defense(), wishful, images, wrong, LINF).correct.any()
    network = Network(nn.Sequential(defense().classifier.module, Wishing()), "classifier")
    assert not evaluate(Defense(network), Hands(Tensor.clone), images, wrong, LINF).correct.any()


class Wishing(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.as_subclass(Wishful)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (Hands(Tensor.double), "a torch.float64 tensor"),
        (Hands(Tensor.half), "a torch.float16 tensor"),
        (Hands(Tensor.to_sparse), "not a dense"),
        (Hands(Tensor.numpy), "ndarray"),
        (Hands(lambda x: None), "NoneType"),
        (Hands(lambda x: torch.stack([x, x, x]), ("one", "two")), "3 variants under 2 names"),
    ],
)
def test_points_of_another_kind_are_refused(attack: Hands, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        evaluate(defense(), attack, x(), torch.zeros(len(x())).long(), LINF)
