from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.rays import BISECTIONS, TOLERANCE, RayS
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute import rng
from tests.tiny import Luck, images, labels, linear

LINF = ThreatModel("linf", 0.25)


class Plane(nn.Module):
    """Two classes, apart at w·x = b."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: Tensor) -> Tensor:
        height = (x * self.w).flatten(1).sum(1) - self.b
        return torch.stack([height, -height], 1)


def test_it_finds_the_nearest_corner_of_a_plane() -> None:
    """Of w·x = b, that is at |w·x - b| / |w|_1 along -sign(w)."""
    torch.manual_seed(0)
    w = torch.randn(1, 2, 2)
    x = torch.full((1, 1, 2, 2), 0.5)
    gap = 0.2
    plane = Plane(w, float((x * w).sum()) - gap * float(w.abs().sum()))
    defense = Defense(Network(plane, "classifier"))
    y = torch.zeros(1, dtype=torch.long)
    for eps, broken in ((gap + 2 * TOLERANCE, True), (gap - 2 * TOLERANCE, False)):
        found = RayS(queries=200)(defense, x, y, ThreatModel("linf", eps))
        assert (defense.predict(found.x_adv) != y).item() is broken
        assert ((found.x_adv - x).sign() == -w.sign()).all()


def test_it_ends_at_its_budget_and_counts_every_query() -> None:
    x = images(8, (1, 8, 8))
    defense = Defense(linear(3, (1, 8, 8)))
    y = labels(defense, x)
    before = defense.classifier.forwards
    found = RayS(queries=40)(defense, x, y, ThreatModel("linf", 1e-3))
    assert found.queries is not None
    asked = found.queries
    assert asked.sum() == defense.classifier.forwards - before
    assert (asked >= 40).all()
    assert (asked <= 40 + BISECTIONS + 3).all()
    assert defense.classifier.backwards == 0


def test_rounded_scores_do_not_stop_it() -> None:
    class Decided(nn.Module):
        """Its classifier's decision, with the same scores everywhere else."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x)
            return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(x)

    plain = linear(3, (1, 8, 8))
    x = images(8, (1, 8, 8))
    y = labels(Defense(plain), x)
    hidden = Defense(Network(Decided(plain.module), "classifier"))
    found = RayS(queries=400)(hidden, x, y, LINF)
    assert LINF.contains(found.x_adv, x).all()
    assert (hidden.predict(found.x_adv) != y).all()


def test_luck_is_no_break() -> None:
    """One draw in three looks wrong; the classifier cannot be broken at this eps."""
    defense, threat = Defense(linear(), [Luck(0.33)]), ThreatModel("linf", 1e-4)
    x = images(16)
    y = labels(defense, x)
    with rng.work("cell"), rng.stream("attack"):
        found = RayS(queries=60, confirm=12)(defense, x, y, threat)
    assert found.queries is not None
    assert (found.queries >= 60).float().mean() > 0.9
