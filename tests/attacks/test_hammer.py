"""DiffHammer against what the authors' code gave, and on toys whose posterior is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from attacks.gradients import Slope, classifier_slope, pulled_back
from attacks.hammer import Hammer, HammerWalk, apgd_diffhammer, graft, select, weigh
from attacks.losses import cross_entropy, margin
from attacks.steps import Search
from attacks.strict import apgd_strict
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits, repeat
from bench.errors import BenchError
from bench.measure.judge import evaluate
from tests.reference import Classifier, facts_of, tensors_of
from tests.tiny import Linear, Noise, images, labels, smooth

DATA = tensors_of("diffhammer")
FACTS: dict[str, Any] = {name: text for name, text in facts_of("diffhammer").items()}
BALL = {"inf": ThreatModel("linf", 8 / 255), "2": ThreatModel("l2", 8 / 255)}


@pytest.mark.parametrize("case", ["a", "b"])
def test_selection_weights_and_graft_are_the_authors(case: str) -> None:
    threat = BALL[json.loads(FACTS[f"em_{case}"])["norm"]]
    losses, gradients = DATA[f"em/{case}/loss"], DATA[f"em/{case}/grads"]
    chosen = select(losses, gradients, threat)
    assert torch.equal(chosen, DATA[f"em/{case}/selected"][0])
    weights = weigh(losses, gradients, chosen, threat)
    torch.testing.assert_close(weights, DATA[f"em/{case}/weights"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        graft(gradients, weights), DATA[f"em/{case}/grafted"][0], atol=1e-7, rtol=1e-4
    )


def test_its_losses_are_ours() -> None:
    logits, y = DATA["loss/logits"], DATA["loss/y"]
    torch.testing.assert_close(margin(logits, y), DATA["loss/CW"], atol=1e-5, rtol=0)
    torch.testing.assert_close(cross_entropy(logits, y), DATA["loss/CE"], atol=1e-5, rtol=0)


class Onward(HammerWalk):
    """As in that run: the current point counts as the best, and gradients are given as they are."""

    def _remember(self, point: Tensor, slope: Slope) -> None:
        self.best, self.seen = point.clone(), slope.gradient.clone()

    def _averaged(self, gradient: Tensor) -> Tensor:
        return gradient


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_points_and_step_sizes_are_the_authors(norm: str) -> None:
    facts, data = json.loads(FACTS[f"apgd_{norm}"]), tensors_of("diffhammer", f"apgd/{norm}/")
    threat = ThreatModel("linf" if norm == "inf" else "l2", facts["eps"])
    search = Search(
        data["x"], threat, facts["n_iter"], 2.0, lambda _, s: threat.steepest(s.gradient)
    )
    walk, point = Onward(search), data["start"]
    assert sorted(walk.checks) == facts["checkpoints"]
    for step, gradient in enumerate(data["grads"]):
        runs = data["loss"][step]
        point = walk(point, Slope(gradient, runs.mean(0), runs=runs))
        assert (point - data["x_adv"][step]).abs().max() <= 1e-6, step
        if step:  # what the authors look at after a move, we do before the next
            sizes = facts["eps"] * walk.step.flatten()
            torch.testing.assert_close(sizes, data["step_size_after"][step - 1])


class Chain(Purifier):
    """The authors' toy diffusion to step 99 and back in two, with the noise that is stored."""

    traits = Traits(random=True)

    def __init__(self, draws: Tensor, images: int, each: int) -> None:
        super().__init__()
        self.draws, self.images, self.each, self.place = draws, images, each, 0
        self.weight, self.bias = DATA["eps/conv.weight"], DATA["eps/conv.bias"]
        self.bar = torch.cat([(1 - torch.linspace(1e-4, 2e-2, 1000)).cumprod(0), torch.ones(1)])

    def noise(self, rows: int) -> tuple[Tensor, ...]:
        """Forward noise, then that of each reverse step; of a run alone image k has draw k's."""
        runs = rows // self.images if rows > self.images else 0
        count = runs * self.each or self.images + self.each - 1
        found = self.draws[self.place : self.place + count]
        self.place += count
        if not runs:
            mixed = torch.stack([found[k, k] for k in range(self.images)])
            return (mixed, *found[self.images :])
        several = found.view(runs, self.each, *found.shape[1:]).transpose(0, 1)
        return tuple(several.flatten(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.noise(len(x))
        z = self.bar[99].sqrt() * (2 * x - 1) + (1 - self.bar[99]).sqrt() * first
        for now, before, noise in zip((99, 49), (49, -1), rest, strict=True):
            a, b = self.bar[now], self.bar[before]
            sigma = ((1 - a / b) * (1 - b) / (1 - a)).sqrt()
            seen = conv2d(z, self.weight, self.bias, padding=1)
            e = (now / (now + 300)) ** 0.5 * z + 0.2 * seen.tanh()
            z = (b / a).sqrt() * (z - (1 - a).sqrt() * e)
            z = z + (1 - b - sigma**2).sqrt() * e + sigma * noise
        return (z + 1) / 2


class Theirs(HammerWalk):
    """In the authors' order: the graft of the last look, through the best point after a restart."""

    graft: Tensor
    defense: Defense

    def _restarted(self, slope: Slope) -> Slope:
        return slope._replace(gradient=through(self.defense, self.best, self.graft))


def through(defense: Defense, point: Tensor, upstream: Tensor) -> Tensor:
    start = point.clone().requires_grad_()
    with torch.enable_grad():
        return pulled_back(defense.purify(start), start, upstream)


def test_the_whole_loop_is_the_authors() -> None:
    facts, data = json.loads(FACTS["loop"]), tensors_of("diffhammer", "loop/")
    x, y, threat = DATA["x"], DATA["y"], BALL["inf"]
    defense = Defense(
        Network(Classifier("diffhammer"), "classifier"),
        [Chain(data["draws"], len(x), facts["draws_per_eval"])],
    )
    runs = facts["n_eval"]

    def look(point: Tensor, entry: int) -> tuple[Slope, Tensor]:
        z = defense.purify(repeat(point, runs))
        goal = repeat(y, runs)
        passed, losses, logits = classifier_slope(defense, z, goal, "margin")
        gradients, losses = passed.view(runs, *x.shape), losses.view(runs, -1)
        chosen = select(losses, gradients, threat)
        weights = weigh(losses, gradients, chosen, threat)
        found = graft(gradients, weights)
        lost = (logits.argmax(1) != goal).view(runs, -1)
        torch.testing.assert_close(losses, data["eval_loss"][entry], atol=1e-5, rtol=0)
        assert torch.equal(chosen, data["selected"][entry])
        torch.testing.assert_close(weights, data["weights"][entry], atol=1e-3, rtol=0)
        torch.testing.assert_close(found, data["grafted"][entry], atol=1e-3, rtol=0)
        assert torch.equal(lost, data["success"][entry])
        return Slope(torch.zeros_like(x), losses.mean(0), runs=losses, lost=lost), found

    def steepest(point: Tensor, slope: Slope) -> Tensor:
        return threat.steepest(slope.gradient)

    with torch.no_grad():
        walk = Theirs(Search(x, threat, facts["n_iter"], 2.0, steepest))
        walk.defense = defense
        point = (x + threat.eps * (2 * data["start_uniform"] - 1)).clamp(0, 1)
        # They look at the clean image first, and climb from a random point.
        slope, walk.graft = look(x, 0)
        slope = slope._replace(gradient=through(defense, point, walk.graft))
        for step in range(facts["n_iter"]):
            point = walk(point, slope)
            largest = data["grad"][step].flatten(1).abs().amax(1).view(-1, 1, 1, 1)
            assert ((walk.mean - data["grad"][step]).abs() / largest).max() < 1e-3
            assert ((point - data["x_adv"][step]).abs() < 1e-6).float().mean() >= 0.99
            slope, walk.graft = look(point, step + 1)
        walk._remember(point, slope)
        assert (walk.best - data["x_adv_best"]).abs().max() < 1e-6


class Coin(Purifier):
    """Of one pixel: a run adds or takes away slope times its distance from 1/2, by a coin."""

    traits = Traits(random=True)

    def __init__(self, up: float, down: float) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.heads: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        heads = torch.rand_like(x) < 0.7
        self.heads.append(heads)
        return 0.5 + torch.where(heads, self.up, self.down) * (x - 0.5)


def test_the_posterior_of_a_coin_and_the_run_that_was_chosen() -> None:
    """All runs meet one linear classifier, so each run's gradient and loss are known."""
    net = Network(Linear(torch.tensor([[[[1.0]]], [[[0.0]]]])), "classifier")
    coin = Coin(2.0, -3.0)
    defense = Defense(net, [coin])
    x, y, runs = torch.full((64, 1, 1, 1), 0.6), torch.zeros(64, dtype=torch.long), 9
    threat = ThreatModel("linf", 0.1)
    slope = Hammer(threat, runs, "margin")(defense, x, y)
    heads = coin.heads[0].view(runs, 64)
    # The margin against class 0 is minus the pixel beyond 1/2: its gradient there is -1.
    losses = torch.where(heads, -0.2, 0.3)
    torch.testing.assert_close(slope.runs, losses)
    weights = torch.sigmoid(5 * (losses + 1))
    torch.testing.assert_close((weights / weights.sum(0) * -1.0).sum(0), -torch.ones(64))
    # Every graft is -1, so that only the chosen run's own slope is left: all are equal, the first.
    assert torch.equal(coin.heads[1].flatten(), heads[0])
    expected = -torch.where(heads[0], 2.0, -3.0)
    torch.testing.assert_close(slope.gradient.flatten(), expected)
    assert slope.lost is not None
    assert torch.equal(slope.lost, losses > 0)


class Remembering(Purifier):
    """Noise for the whole batch, or for each image on its own."""

    traits = Traits(random=True)

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        each = torch.randn_like(x) if self.whole else torch.stack([*map(torch.randn_like, x)])
        self.drawn.append(each)
        return x + 0.3 * each


def test_the_run_that_is_pulled_back_is_one_of_those_that_were_looked_at() -> None:
    torch.manual_seed(0)
    purifier, x, runs = Remembering(whole=True), images(16), 5
    Hammer(ThreatModel("linf", 0.1), runs, "ce")(Defense(smooth(), [purifier]), x, labels_of(x))
    looked, pulled = purifier.drawn
    same = (looked.view(runs, *x.shape) == pulled).flatten(2).all(2)
    assert same.sum(0).tolist() == [1] * len(x)
    assert not same[0].all()


def test_a_run_that_cannot_be_repeated_is_refused() -> None:
    torch.manual_seed(0)
    defense, x = Defense(smooth(), [Remembering(whole=False)]), images(16)
    with pytest.raises(BenchError, match="could not be repeated: the purifier draws"):
        Hammer(ThreatModel("linf", 0.1), 5, "ce")(defense, x, labels_of(x))


def labels_of(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 2


def test_weights_are_the_posterior_of_runs_that_disagree() -> None:
    """Two runs in one direction and one in the other, whose gradients are opposite."""
    threat = ThreatModel("linf", 0.1)
    ahead, back = torch.tensor([0.3, 0.1]), torch.tensor([-0.2, -0.1])
    gradients = torch.stack([back, ahead, ahead])[:, None]
    losses = torch.tensor([[0.5], [-0.2], [0.1]])
    chosen = select(losses, gradients, threat)
    assert chosen.tolist() == [1]
    weights = weigh(losses, gradients, chosen, threat)
    expected = torch.sigmoid(5 * torch.tensor([0.5 - 0.3, -0.2 + 0.4, 0.1 + 0.4]))
    torch.testing.assert_close(weights[:, 0], expected)
    mixed = (expected[:, None] * gradients[:, 0]).sum(0) / expected.sum()
    torch.testing.assert_close(graft(gradients, weights)[0], mixed)


def test_it_breaks_what_strict_breaks() -> None:
    defense, x = Defense(smooth(), [Noise(0.05)]), images(32)
    y, threat = labels(defense, x), ThreatModel("linf", 0.12)
    hammer = apgd_diffhammer(steps=8, draws=6, losses="margin+ce", select=4)
    strict = apgd_strict(steps=8, eot=6, restarts=1, start="own", losses="margin+ce", select=4)
    rates = []
    for attack in (hammer, strict):
        found = evaluate(defense, attack, x, y, threat, draws=4, key="cell")
        rates.append(float(found.correct.double().mean()))
    assert rates[0] < 0.5
    assert rates[0] < rates[1] + 0.1
