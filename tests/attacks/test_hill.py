"""Hill's protocol against the points and verdicts of the authors' loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks.gradients import Bpda, Eot, Slope
from attacks.keep import Verify
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.compute import rng
from tests.reference import Classifier, tensors_of
from tests.tiny import Luck, images, labels, linear, smooth

DATA = tensors_of("bpda_eot")
X, Y = DATA["x"], DATA["y"]


class Levels(Purifier):
    """The reference's purifier: eight levels, after the noise of its calls in their order."""

    def __init__(self, std: float, noise: list[Tensor]) -> None:
        super().__init__()
        self.std, self.noise = std, noise
        self.traits = Traits(random=std > 0, exact=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.std:
            x = (x + self.std * self.noise.pop(0)).clamp(0, 1)
        return (7 * x + 0.5).floor() / 7


class Spy:
    """A gradient that remembers the points it was asked at and what it said."""

    def __init__(self, draws: int) -> None:
        self.inner = Eot(Bpda(), draws, "logits")
        self.points: list[Tensor] = []
        self.slopes: list[Slope] = []

    def __call__(self, defense: Defense, x: Tensor, y: Tensor) -> Slope:
        self.points.append(x.clone())
        self.slopes.append(self.inner(defense, x, y))
        return self.slopes[-1]


def defense_of(name: str) -> Defense:
    std, noise = 0.0, []
    if f"{name}/noise_std" in DATA:
        std = float(DATA[f"{name}/noise_std"])
        sizes = [n * X[0].numel() for n in DATA[f"{name}/noise_counts"].tolist()]
        noise = [
            part.view(-1, *X.shape[1:]) for part in torch.split(DATA[f"{name}/noise_flat"], sizes)
        ]
    return Defense(Network(Classifier("bpda_eot"), "classifier"), [Levels(std, noise)])


def run(name: str, steps: int) -> tuple[Tensor, Tensor, Spy]:
    """x_adv, the protocol's verdict, and what the gradient saw, after so many steps."""
    eps, eta = DATA[f"{name}/eps_eta"].tolist()
    _, draws, confirm = DATA[f"{name}/steps_attackreps_defreps"].tolist()
    spy = Spy(draws)
    attack = PGD(spy, steps, eta / eps, keep=Verify(draws, confirm))
    attacked = attack(defense_of(name), X, Y, ThreatModel(name.partition("_")[0], eps))
    assert attacked.protocol is not None
    return attacked.x_adv, attacked.protocol, spy


@pytest.mark.parametrize("name", ["linf_det", "l2_det", "linf_stoch"])
def test_hills_protocol_is_the_authors(name: str) -> None:
    steps, draws, confirm = DATA[f"{name}/steps_attackreps_defreps"].tolist()
    x_adv, protocol, spy = run(name, steps)
    rows = DATA[f"{name}/class_batch"]
    baseline = Verify(draws, confirm).begin(defense_of(name), X, Y).protocol
    assert baseline is not None
    assert torch.equal(baseline, rows[0])
    for looks, row in enumerate(rows[1:]):
        assert torch.equal(run(name, looks)[1], row)
    assert torch.equal(protocol, rows[-1])
    # The reference has the mean loss of the batch, and asks a deterministic purifier again too.
    theirs = DATA[f"{name}/grad_step1"]
    found = spy.slopes[0].gradient / (len(X) * (1 if name == "linf_stoch" else draws))
    assert (found - theirs).abs().max() <= 1e-3 * theirs.abs().max()
    pairs = [(spy.points[1], DATA[f"{name}/x_step1"]), (x_adv, DATA[f"{name}/ims_adv"])]
    updates = int(DATA[f"{name}/n_updates"])
    if protocol.any():
        pairs.append((spy.points[updates], DATA[f"{name}/x_last"]))
    # Where the last image falls the reference moves once more before it leaves.
    assert len(spy.points) - 1 == updates - (not protocol.any())
    for found, expected in pairs:
        if name == "l2_det":
            assert (found - expected).abs().max() <= 1e-4
        else:
            assert ((found - expected).abs() < 1e-5).float().mean() >= 0.99


class Lucky(Purifier):
    """Turns images about 1/2 in the calls that are listed, counted from 0."""

    traits = Traits(random=True, exact=False)

    def __init__(self, *turned: int) -> None:
        super().__init__()
        self.turned, self.calls = turned, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return 1 - x if self.calls - 1 in self.turned else x


def test_an_unlucky_look_breaks_nothing_unless_it_is_verified() -> None:
    x, threat = images(1), ThreatModel("linf", 1e-4)
    attack = PGD(Eot(Bpda(), 2, "logits"), 3, keep=Verify(2, 5))
    verdicts = {}
    # Calls: the baseline, four looks, and a verification after the look at which it turns.
    for turned in ((), (2,), (2, 3)):
        defense = Defense(linear(), [Lucky(*turned)])
        y = labels(defense, x)
        attacked = attack(defense, x, y, threat)
        assert attacked.protocol is not None
        verdicts[turned] = attacked.protocol.tolist()
        assert defense.calls()["classifier"][1] == 2 * (2 if turned == (2, 3) else 4)
    assert verdicts == {(): [True], (2,): [True], (2, 3): [False]}


def test_the_point_of_the_first_verified_break_is_handed_over() -> None:
    defense, threat = Defense(smooth()), ThreatModel("linf", 0.05)
    x = images(32)
    y = labels(defense, x)
    y[0] = (y[0] + 1) % 5
    attacked = PGD(Eot(Bpda(), 1, "logits"), 12, 0.1, keep=Verify())(defense, x, y, threat)
    assert attacked.protocol is not None
    broken = ~attacked.protocol
    assert 1 < broken.sum() < 32
    assert torch.equal(defense.predict(attacked.x_adv) == y, attacked.protocol)
    assert torch.equal(attacked.x_adv[0], x[0])
    steps = threat.distance(attacked.x_adv, x)[broken] / 0.005
    assert steps.min() < 0.1
    assert steps.max() > 1.9


def test_verification_is_drawn_apart_from_attack_and_judge() -> None:
    defense, threat = Defense(linear(), [Luck(0.4)]), ThreatModel("linf", 0.05)
    x = images()
    y = labels(defense, x)
    losses = []
    for confirm in (1, 30):
        with rng.work("cell"), rng.stream("attack"):
            attack = PGD(Eot(Bpda(), 3, "logits"), 2, keep=Verify(3, confirm))
            trace = attack(defense, x, y, threat).trace
        assert trace is not None
        losses.append(trace.loss)
    assert torch.equal(losses[0], losses[1])
