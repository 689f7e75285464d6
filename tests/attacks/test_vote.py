"""What an attacker follows against a defense that is deployed as the vote of K copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.gradients import Bpda, Eot, Exact
from attacks.losses import AnyLoss
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.compute import rng
from bench.measure.judge import evaluate
from tests.tiny import Linear, Noise, images, labels, smooth

DRAWS = 3


def voting(noise: float, copies: int) -> Defense:
    purifier = Noise(noise)
    purifier.traits = purifier.traits.voting(copies)
    return Defense(smooth(), [purifier])


@pytest.mark.parametrize("single", [Bpda, Exact])
def test_cross_entropy_is_that_of_the_mean_softmax(single: type[Bpda] | type[Exact]) -> None:
    defense, x = voting(0.5, 7), images(40)
    y = labels(defense, x)
    torch.manual_seed(5)
    start = x.clone().requires_grad_()
    noisy = start.repeat(DRAWS, 1, 1, 1) + 0.5 * torch.randn(DRAWS * len(x), *x.shape[1:])
    mean = defense.classifier(noisy).softmax(1).view(DRAWS, len(x), -1).mean(0)
    losses = F.nll_loss(mean.log(), y, reduction="none")
    (expected,) = torch.autograd.grad(losses.sum(), start)
    before = defense.calls()["classifier"]
    torch.manual_seed(5)
    slope = Eot(single(), DRAWS)(defense, x, y)
    torch.testing.assert_close(slope.gradient, expected)
    torch.testing.assert_close(slope.loss, losses.detach())
    after = defense.calls()["classifier"]
    assert (after[0] - before[0], after[1] - before[1]) == (DRAWS * 40, DRAWS * 40)


def test_of_a_margin_it_is_the_mean_chance_that_another_class_wins() -> None:
    defense, x = voting(0.5, 7), images(40)
    y = labels(defense, x)
    torch.manual_seed(5)
    start = x.clone().requires_grad_()
    noisy = start.repeat(DRAWS, 1, 1, 1) + 0.5 * torch.randn(DRAWS * len(x), *x.shape[1:])
    logits = defense.classifier(noisy)
    right = logits.gather(1, y.repeat(DRAWS)[:, None])[:, 0]
    other = logits.scatter(1, y.repeat(DRAWS)[:, None], -torch.inf).amax(1)
    losses = (other - right).sigmoid().view(DRAWS, -1).mean(0).log()
    (expected,) = torch.autograd.grad(losses.sum(), start)
    torch.manual_seed(5)
    slope = Eot(Exact("margin"), DRAWS)(defense, x, y)
    torch.testing.assert_close(slope.loss, losses.detach())
    along = F.cosine_similarity(slope.gradient.flatten(1), expected.flatten(1))
    torch.testing.assert_close(along, torch.ones(40))


def test_of_probabilities_it_is_their_mean() -> None:
    defense, x = voting(0.5, 7), images(40)
    y = labels(defense, x)
    torch.manual_seed(5)
    start = x.clone().requires_grad_()
    noisy = start.repeat(DRAWS, 1, 1, 1) + 0.5 * torch.randn(DRAWS * len(x), *x.shape[1:])
    p = defense.classifier(noisy).softmax(1)
    right = p.gather(1, y.repeat(DRAWS)[:, None])[:, 0]
    other = p.scatter(1, y.repeat(DRAWS)[:, None], -1).amax(1)
    losses = 1 + (other - right).view(DRAWS, -1).mean(0)
    (expected,) = torch.autograd.grad(losses.sum(), start)
    torch.manual_seed(5)
    slope = Eot(Exact("pma"), DRAWS)(defense, x, y)
    torch.testing.assert_close(slope.loss, losses.detach())
    torch.testing.assert_close(slope.gradient, expected)


class Two(Purifier):
    """Of one pixel u in [-1,1]: three copies in five are wrong above 1/2, the others below 3/4."""

    def __init__(self, traits: Traits) -> None:
        super().__init__()
        self.traits = traits

    def forward(self, x: Tensor) -> Tensor:
        u = 2 * x - 1
        return 0.5 + torch.where(torch.rand_like(x) < 0.6, 4 - 8 * u, 16 * u - 12)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_copies_that_are_lost_already_do_not_hold_the_others(loss: AnyLoss) -> None:
    """The mean gradient follows two copies in five to where they are wrong anyway."""
    net = Network(Linear(torch.tensor([[[[1.0]]], [[[0.0]]]])), "classifier")
    x, y = torch.full((32, 1, 1, 1), 0.5), torch.zeros(32, dtype=torch.long)
    attack = PGD(Eot(Exact(loss), 60), 20, 0.1, keep="loss")
    rates = []
    for traits in (Traits(random=True, runs=25, vote="majority"), Traits(random=True).voting(25)):
        defense = Defense(net, [Two(traits)])
        with rng.work("vote"):
            found = evaluate(defense, attack, x, y, ThreatModel("linf", 0.5), draws=4)
        rates.append(float(found.correct.double().mean()))
    assert rates[0] > 0.7
    assert rates[1] == 0
