"""Defenses of which it is known that they add nothing: what an adaptive attack has to find."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.family import bpda, classifier_pgd
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.measure.judge import evaluate
from defenses.anti_adversary import AntiAdversary
from defenses.hedge import Hedge, surest
from tests.tiny import Linear, images, labels, linear, smooth


def net(network: nn.Module) -> Network:
    return Network(network.eval().requires_grad_(False), "inside")


def weight() -> Tensor:
    return torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_hedge_climbs_the_cross_entropy_of_every_class_within_its_ball() -> None:
    network, x = smooth(), images()
    loss = surest(network)
    every = torch.stack(
        [F.cross_entropy(network(x), torch.full((8,), c), reduction="none") for c in range(5)]
    )
    torch.testing.assert_close(loss(x), every.mean(0))
    hedge = Hedge(network, 0.05, 0.01, 20)
    torch.manual_seed(1)
    z = hedge(x)
    assert (z - x).abs().max() <= 0.05 + 1e-6
    assert (loss(z) > loss(x)).all()
    assert not torch.equal(hedge(x), z)


def test_the_anti_adversary_walks_away_from_the_boundary_by_its_steps() -> None:
    """A linear classifier's cross-entropy falls along the sign of the difference of its rows."""
    w, x = weight(), images()
    moved = AntiAdversary(net(Linear(w)), 0.03, 2)(x)
    said = Linear(w)(x).argmax(1)
    way = (w[said] - w[1 - said]).sign()
    torch.testing.assert_close(moved, (x + 2 * 0.03 * way).clamp(0, 1))


def test_no_decision_of_a_linear_classifier_changes_and_no_attack_is_stopped() -> None:
    """Both walk to where the classifier is surer, so BPDA leaves what PGD leaves without them."""
    x, threat = images(64), ThreatModel("linf", 0.05)
    bare = Defense(linear())
    y = labels(bare, x)
    base = evaluate(bare, classifier_pgd(random_start=False, steps=10), x, y, threat, key="cell")
    assert 0.2 < float(base.correct.double().mean()) < 0.9
    inside = net(linear().module)
    for purifier in (AntiAdversary(inside, 0.05, 2), Hedge(inside, 1e-4, 1e-4, 5)):
        purifier.traits = Traits(exact=False)
        defense = Defense(linear(), [purifier])
        assert torch.equal(defense.predict(x), y)
        found = evaluate(defense, bpda(steps=10), x, y, threat, key="cell")
        assert (found.correct != base.correct).sum() <= 1, type(purifier)


def test_networks_on_the_way_are_counted() -> None:
    x = images(3)
    for purifier, calls in ((Hedge(linear(), 0.1, 0.1, 4), (12, 12)), (_anti(), (9, 6))):
        found: Network = _inside(purifier)
        found.forwards = found.backwards = 0
        purifier(x)
        assert (found.forwards, found.backwards) == calls


def _anti() -> AntiAdversary:
    return AntiAdversary(linear(), 0.1, 2)


def _inside(purifier: Purifier) -> Network:
    (found,) = (m for m in purifier.modules() if isinstance(m, Network))
    return found
