"""ScoreOpt and one-shot denoising: the authors' numbers, the print, gradients, calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.gradients import Eot, surrogate
from attacks.keep import Verify
from attacks.pgd import PGD
from bench.api import find_defense
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.errors import BenchError
from bench.measure import build
from bench.models.nets import make
from bench.spec import parse_part
from defenses.denoise import Denoise, shot
from defenses.schedule import run
from defenses.scoreopt import TABLE_10, ScoreOptN, ScoreOptO
from defenses.scoreopt_walk import (
    ADAM_EPS,
    AdamRule,
    Draw,
    Loss,
    Moving,
    Objective,
    objective_n,
    objective_o,
    walk_n,
    walk_o,
)
from tests.models.nets.test_edm import FIXED
from tests.reference import Classifier, facts_of, tensors_of

# --- the authors' code (golden) ----------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return tensors_of("scoreopt")


@pytest.fixture(scope="module")
def denoiser() -> Network:
    config = json.loads(facts_of("edm_tiny")["config"])
    network = make("edm-ddpmpp", {k: v for k, v in config.items() if k not in FIXED})
    network.load_state_dict(tensors_of("edm_tiny", "sd/"))
    return Network(network, "denoiser")


def code(lr: float, images: int, noise_error: bool = False) -> AdamRule:
    """The authors' mean over a batch of `images` images of 3x16x16."""
    return AdamRule(lr=lr, adam_eps=ADAM_EPS * images * 768, noise_error=noise_error)


def level(t: Tensor | float, images: int) -> Tensor:
    return torch.as_tensor(t).float().expand(images, 1, 1, 1)


@torch.no_grad()
def points(steps: list[Any], x: Tensor) -> list[Tensor]:
    """The moving point before each step of Adam and after the last, in [-1,1]."""
    state, found = 2 * x - 1, []
    for step in steps[:-1]:
        state = step(state, slice(0, len(x)))
        found.append(Moving.of(state).point)
    return found


@pytest.mark.parametrize(("name", "lr"), [("o_a", 0.1), ("o_b", 0.01)])
def test_o_is_the_authors(
    golden: dict[str, Tensor], denoiser: Network, name: str, lr: float
) -> None:
    x = golden["x_raw"]
    pairs = list(zip(golden[f"{name}/t"], golden[f"{name}/eps"], strict=True))
    draws = [Draw(level(t, 2), noise) for t, noise in pairs]
    steps = list(walk_o(denoiser, code(lr, 2), draws))
    torch.testing.assert_close(run(steps, x), golden[f"{name}/purified"], rtol=0, atol=2e-3)
    iterates = golden[f"{name}/iterates"]
    mine = points(steps, x)
    first = 0 if len(iterates) == len(mine) else 1
    for found, expected in zip(mine[first:], iterates, strict=False):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_a_batch_mate_counts_there_and_not_here(
    golden: dict[str, Tensor], denoiser: Network
) -> None:
    x, wanted = golden["x_raw"][:1], golden["o_a/first_alone"]
    draws = [
        Draw(level(t, 1), noise[:1])
        for t, noise in zip(golden["o_a/t"], golden["o_a/eps"], strict=True)
    ]
    alone = run(walk_o(denoiser, code(0.1, 1), draws), x)
    torch.testing.assert_close(alone, wanted, rtol=0, atol=1e-5)
    together = golden["o_a/purified"][:1]
    gap = (together - wanted).abs().max()
    assert gap > 10 * (alone - wanted).abs().max()


@pytest.mark.parametrize(("name", "t"), [("n_a", 0.25), ("n_b", 0.5)])
def test_n_is_the_authors(
    golden: dict[str, Tensor], denoiser: Network, name: str, t: float
) -> None:
    x = golden["x_raw"]
    draw = Draw(level(t, 2), golden[f"{name}/eps"])
    steps = list(walk_n(denoiser, code(0.1, 2, noise_error=True), [(draw, [None] * 5)]))
    torch.testing.assert_close(run(steps, x), golden[f"{name}/purified"], rtol=0, atol=2e-3)
    mine = points(steps, x)[1:7]
    for found, expected in zip(mine, golden[f"{name}/iterates"], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_one_shot_is_the_authors(golden: dict[str, Tensor], denoiser: Network) -> None:
    step = shot(denoiser, level(0.25, 2), golden["one_shot/eps"])
    found = run([step], golden["x_raw"])
    torch.testing.assert_close(found, golden["one_shot/purified"], rtol=0, atol=1e-5)


class PgdEot(Purifier):
    """The reference's defense and stand-in, with its noise."""

    traits = Traits(random=True, exact=False, surrogate=True)

    def __init__(self, denoiser: Network, data: dict[str, Tensor]) -> None:
        super().__init__()
        self.denoiser, self.data = denoiser, data

    def surrogate(self, x: Tensor) -> Tensor:
        return run([shot(self.denoiser, level(0.25, 6), self.data["noise_surrogate"])], x)

    def forward(self, x: Tensor) -> Tensor:
        draw = Draw(level(0.25, 6), self.data["noise_defence"])
        return run(walk_n(self.denoiser, code(0.1, 6, noise_error=True), [(draw, [None] * 2)]), x)


def test_the_surrogate_protocol_is_the_authors(denoiser: Network) -> None:
    data = tensors_of("pgd_eot_surrogate")
    x, y = data["x"], data["y"]
    net = Network(Classifier("pgd_eot_surrogate"), "classifier")
    defense = Defense(net, [PgdEot(denoiser, data)])
    follow = Eot(surrogate(), 3, "logits")
    # The reference takes the mean loss of the batch.
    found, expected = follow(defense, x, y).gradient / len(x), data["attack_grad"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * expected.abs().max().item())
    attack = PGD(follow, 2, keep=Verify(3, 3))
    attacked = attack(defense, x, y, ThreatModel("linf", 1e-4))
    assert attacked.protocol is not None
    assert torch.equal(attacked.protocol, data["correct"])
    moved = (attacked.x_adv - x) / 1e-4
    inside = (x > 1e-4) & (x < 1 - 1e-4) & (expected.abs() > 1e-3 * expected.abs().max())
    assert (moved[inside].sign() == expected[inside].sign()).float().mean() > 0.99


# --- the print ---------------------------------------------------------------------------------


class Pull(nn.Module):
    """D(x, t) = x + w(t) (centre - x), for which every loss is known."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x + t / (1 + t) * (0.25 - x)


PULL = Network(Pull(), "denoiser")


def slopes(name: str, loss: Loss, lam: float, x: Tensor, draw: Draw) -> Tensor:
    """What Adam's first moment took in its first step: a tenth of the gradient."""
    rule = AdamRule(loss=loss, lam=lam)
    steps = (
        list(walk_o(PULL, rule, [draw]))
        if name == "o"
        else list(walk_n(PULL, rule, [(draw, [draw.other])]))
    )
    state = x
    for step in steps[: 2 if name == "o" else 3]:
        state = step(state, slice(0, len(x)))
    return Moving.of(state).first / 0.1


@torch.no_grad()
@pytest.mark.parametrize("loss", ["diff", "mse", "sr"])
@pytest.mark.parametrize("name", ["o", "n"])
def test_gradients_of_the_printed_losses(name: str, loss: Loss) -> None:
    torch.manual_seed(0)
    x, n1, n2 = torch.randn(3, 2, 1, 4, 4, dtype=torch.double)
    t = torch.tensor([0.3, 0.6], dtype=torch.double).view(-1, 1, 1, 1)
    w, lam = t / (1 + t), 0.7
    noisy = x + t * n1
    denoised = noisy + w * (0.25 - noisy)
    # dD/dx = 1 - w; x itself moves with it in O, and not in N, where x_i is fixed.
    expected = 2 * (denoised - x) * ((1 - w) - (1 if name == "o" else 0))
    if loss == "sr":
        other = x + t * n2
        expected += 2 * (denoised - (other + w * (0.25 - other))) * (1 - w)
    # The MSE term is 0 at the start, where x is x_a.
    found = slopes(name, loss, lam, x, Draw(t, n1, n2))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("objective", [objective_o, objective_n])
def test_the_mse_term_is_lam_times_the_squared_distance(
    objective: Callable[[Network, AdamRule], Objective],
) -> None:
    torch.manual_seed(0)
    x, start, noise = torch.randn(3, 2, 1, 4, 4, dtype=torch.double)
    draw = Draw(torch.full((2, 1, 1, 1), 0.3).double(), noise)
    state = Moving(x, x, x, start, x)
    point = x if objective is objective_o else x + draw.t * noise
    with_it, without = (
        objective(PULL, AdamRule(loss, 0.7))(point, state, draw) for loss in ("mse", "diff")
    )
    torch.testing.assert_close(with_it - without, 0.7 * (x - start).square().sum())


def test_the_mse_term_pulls_back() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 4, 4)
    ends = []
    for lam in (0.0, 100.0):
        torch.manual_seed(1)
        purifier = ScoreOptO(PULL, AdamRule("mse", lam, lr=0.02), 20, 0.4, 0.6)
        ends.append((purifier(x) - x).abs().mean())
    assert ends[1] < 0.3 * ends[0]


def test_no_steps_are_one_shot_denoising(denoiser: Network) -> None:
    x = torch.rand(2, 3, 16, 16)
    found = []
    purifiers: tuple[Purifier, ...] = (
        ScoreOptN(denoiser, AdamRule(), 0, 0.3, 0.3),
        Denoise(denoiser, 0.15),
    )
    for purifier in purifiers:
        torch.manual_seed(0)
        if isinstance(purifier, ScoreOptN):
            purifier.level(x)
            torch.manual_seed(0)
            draw = Draw(level(0.3, 2), torch.randn_like(x))
            found.append(run(walk_n(denoiser, AdamRule(), [(draw, [])]), x))
        else:
            found.append(purifier(x))
    torch.testing.assert_close(found[0], found[1])


def test_images_do_not_depend_on_batch_or_chunk(denoiser: Network) -> None:
    torch.manual_seed(0)
    x, noise, other = torch.rand(2, 3, 16, 16), *torch.randn(2, 2, 3, 16, 16)
    draw = Draw(level(0.4, 2), noise, other)
    rule = AdamRule("sr", lr=0.05)
    both = run(walk_o(denoiser, rule, [draw] * 3), x)
    one = run(walk_o(denoiser, rule, [draw.rows(slice(0, 1))] * 3), x[:1])
    torch.testing.assert_close(both[:1], one, rtol=0, atol=1e-4)


def test_table_10_is_in_the_grammar() -> None:
    assert len(TABLE_10) == 10
    for text in TABLE_10.values():
        part = parse_part(text)
        settings = dict(find_defense(part.name).resolve(part, "patches").settings)
        typed = dict(part.settings)
        assert {k: settings[k] for k in typed} == {k: float(v) for k, v in typed.items()}
    for name in ("o", "n"):
        part = parse_part(TABLE_10[f"cifar10 bpda-eot linf {name.upper()}"])
        plain = find_defense(part.name).resolve(parse_part(part.name), "")
        assert plain == find_defense(part.name).resolve(part, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("scoreopt-o:t_min=0.5,t_max=0.4", "is above"),
        ("lm:t_min=0.5,t_max=0.4", "lm: t_min=0.5 is above"),
        ("scoreopt-o:variant=code,loss=sr", "loss=diff"),
        ("scoreopt-n:variant=code,rounds=2", "one round"),
        ("scoreopt-n:variant=code,t_min=0.1", "t_min=t_max"),
    ],
)
def test_contradictions_are_refused(text: str, reason: str) -> None:
    plugin = find_defense(parse_part(text).name)
    settings = dict(plugin.resolve(parse_part(text), "").settings)
    with pytest.raises(BenchError, match=reason):
        plugin.traits(settings)


# --- gradients and calls -----------------------------------------------------------------------


class Smooth(nn.Module):
    """A small smooth denoiser."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(1, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        move: Tensor = self.two(self.one(x).tanh())
        return x / (1 + t**2) + 0.5 * t * move


def small() -> Network:
    return Network(Smooth().double(), "denoiser")


def made(name: str, loss: Loss, net: Network) -> ScoreOptO | ScoreOptN:
    rule = AdamRule(loss, lam=0.5, lr=0.02)
    if name == "o":
        return ScoreOptO(net, rule, 3, 0.4, 0.6)
    return ScoreOptN(net, rule, 3, 0.4, 0.6, rounds=2)


@pytest.mark.parametrize("loss", ["diff", "mse", "sr"])
@pytest.mark.parametrize("name", ["o", "n"])
def test_the_exact_gradient_is_that_of_finite_differences(name: str, loss: Loss) -> None:
    torch.manual_seed(0)
    purifier = made(name, loss, small())
    x = 0.2 + 0.6 * torch.rand(3, 1, 6, 6, dtype=torch.double)
    v, d = torch.randn(2, *x.shape, dtype=torch.double)

    def value(point: Tensor) -> Tensor:
        torch.manual_seed(1)
        total: Tensor = (purifier(point) * v).sum()
        return total

    with purifier.hold():
        point = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(point), point)
        along = (gradient * d).sum().item()
        with torch.no_grad():
            measured = ((value(x + 1e-6 * d) - value(x - 1e-6 * d)) / 2e-6).item()
    assert abs(measured - along) < 1e-3 * abs(along)


@pytest.mark.parametrize("loss", ["diff", "sr"])
@pytest.mark.parametrize("name", ["scoreopt-o", "scoreopt-n"])
def test_declared_calls_are_those_made(name: str, loss: Loss) -> None:
    plugin, net = find_defense(name), small()
    rounds = ",rounds=2" if name == "scoreopt-n" else ""
    part = parse_part(f"{name}:steps=3,loss={loss}{rounds}")
    settings = dict(plugin.resolve(part, "").settings)
    purifier = made(name[-1], loss, net)
    x = torch.rand(3, 1, 6, 6, dtype=torch.double)
    with torch.no_grad():
        purifier(x)
    run_calls = (net.forwards // 3, net.backwards // 3)
    assert {"denoiser": run_calls} == plugin.calls(settings)
    net.forwards = net.backwards = 0
    point = x.clone().requires_grad_()
    torch.autograd.grad(purifier(point).sum(), point)
    again, back = plugin.gradient(settings)["denoiser"]
    assert (net.forwards // 3, net.backwards // 3) == (run_calls[0] + again, run_calls[1] + back)
    net.forwards = net.backwards = 0
    torch.autograd.grad(purifier.surrogate(point).sum(), point)
    assert {"denoiser": (net.forwards // 3, net.backwards // 3)} == plugin.surrogate_calls(settings)


@pytest.mark.parametrize(("variant", "numbers"), [("paper", 1), ("code", 3 * 16 * 16)])
def test_adams_eps_is_torchs_beside_the_loss_that_a_variant_has(variant: str, numbers: int) -> None:
    """The code takes the mean over the pixels; so small a loss meets the same eps."""
    text = f"scoreopt-o:variant={variant}@natural"
    (purifier,) = build.defense(text, build.context("patches")).purifiers
    assert isinstance(purifier, ScoreOptO)
    torchs = torch.optim.Adam([torch.zeros(1)]).defaults["eps"]
    assert purifier.rule.adam_eps == pytest.approx(numbers * torchs)
