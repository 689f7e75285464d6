from __future__ import annotations

import torch
from torch import Tensor

from attacks.pgd import PGD
from attacks.select import Selector
from attacks.spsa import Spsa
from attacks.square import Square
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier
from bench.compute import rng
from bench.measure.judge import evaluate
from tests.tiny import Levels, Luck, Noise, Quadratic, images, labels, linear, smooth


def test_spsa_recovers_the_gradient_of_a_quadratic() -> None:
    defense = Defense(Network(Quadratic(), "classifier"))
    x, y = images(), torch.zeros(8, dtype=torch.long)
    torch.manual_seed(0)
    slope = Spsa(samples=800, delta=0.01)(defense, x, y)
    cosine = torch.cosine_similarity(slope.gradient.flatten(1), x.flatten(1))
    assert (cosine > 0.97).all()
    assert slope.queries == 1600
    torch.testing.assert_close(slope.loss, x.flatten(1).square().sum(1) / 2, atol=1e-3, rtol=1e-3)


def test_spsa_asks_for_images_only() -> None:
    seen: list[Tensor] = []

    class Looks(Purifier):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    Spsa(samples=4)(Defense(linear(), [Looks()]), x, torch.zeros(2, dtype=torch.long))
    assert min(float(each.min()) for each in seen) == 0
    assert max(float(each.max()) for each in seen) == 1


def test_spsa_breaks_what_has_no_gradient_and_counts_its_queries() -> None:
    defense, threat = Defense(linear(), [Levels(64)]), ThreatModel("linf", 0.25)
    x = images()
    y = labels(defense, defense.purify(x))
    torch.manual_seed(0)
    attacked = PGD(Spsa(samples=32, delta=0.05), 8)(defense, x, y, threat)
    assert (defense.predict(attacked.x_adv) != y).float().mean() > 0.8
    assert attacked.queries is not None
    assert attacked.queries.tolist() == [8 * 64] * 8
    assert defense.classifier.backwards == 0


def test_square_breaks_a_linear_classifier_without_gradients() -> None:
    for threat in (ThreatModel("linf", 0.25), ThreatModel("l2", 1.0)):
        defense = Defense(linear(3, (1, 8, 8)))
        x = images(8, (1, 8, 8))
        y = labels(defense, x)
        y[0] = (y[0] + 1) % 3
        torch.manual_seed(0)
        before = defense.classifier.forwards
        attacked = Square(queries=300)(defense, x, y, threat)
        assert threat.contains(attacked.x_adv, x).all()
        assert (defense.predict(attacked.x_adv) != y).all()
        assert torch.equal(attacked.x_adv[0], x[0])
        assert attacked.queries is not None
        assert attacked.queries[0] == 1
        assert (attacked.queries < 300).all()
        # Every image through the classifier was a query of some image; then this test's own.
        assert attacked.queries.sum() == defense.classifier.forwards - before - len(x)
        assert defense.classifier.backwards == 0


def test_square_is_not_ended_by_one_lucky_draw() -> None:
    # One draw in three looks broken; the classifier itself cannot be broken at this eps.
    defense, threat = Defense(linear(), [Luck(0.33)]), ThreatModel("linf", 1e-4)
    x = images(16)
    y = labels(defense, x)
    with rng.work("cell"), rng.stream("attack"):
        attacked = Square(queries=60, confirm=12)(defense, x, y, threat)
    assert attacked.queries is not None
    assert (attacked.queries >= 60).all()


def test_square_wins_where_luck_and_attack_meet() -> None:
    defense, threat = Defense(linear(3, (1, 8, 8)), [Noise(0.02)]), ThreatModel("linf", 0.3)
    x = images(8, (1, 8, 8))
    y = labels(defense, x)
    outcome = evaluate(defense, Square(queries=300), x, y, threat, draws=4, key="cell")
    assert outcome.correct.float().mean() < 0.1


def test_a_selector_never_uses_a_draw_twice() -> None:
    defense = Defense(smooth(), [Noise(0.5)])
    x = images(16)
    y = labels(defense, x)
    with rng.work("cell"):
        select = Selector(defense, 3)
        first, second = select(x, y), select(x, y)
        again = Selector(defense, 3)(x, y)
    assert select.used == 6
    assert torch.equal(first.rank, again.rank)
    assert not torch.equal(first.rank, second.rank)
