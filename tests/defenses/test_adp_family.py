"""ADP's relatives: Langevin updates, falling steps, other score networks and both in turn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import contract
from bench.api import find_defense
from bench.api.purifier import Network
from bench.errors import BenchError
from bench.measure import build
from bench.models.nets import make
from bench.models.zoo import weights as zoo
from bench.plan import plan
from bench.plan.request import Request
from bench.spec import Value, parse_part
from defenses.adp import ADP
from defenses.adp_walk import Rotation, StepRule, purify


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 2, 3, padding=1))
    return nn.Sequential(*layers).double().requires_grad_(False)


def resolved(text: str, dataset: str = "") -> dict[str, Value]:
    return dict(find_defense("adp").resolve(parse_part(text), dataset).settings)


# --- Langevin ----------------------------------------------------------------------------------


def test_langevin_keeps_a_gaussian_at_its_level() -> None:
    """s(x) = -(x - mu)/sigma: the chain is autoregressive, its variance sigma^2/(1 - a/2 sigma)."""
    torch.manual_seed(0)
    sigma, alpha, mu = 0.2, 0.1, 0.4
    rule = StepRule(steps=60, adaptive=False, alpha=alpha, clip=False, heat=sigma)
    noise = torch.randn(60, 4, 1, 100, 100, dtype=torch.double)
    start = torch.full((4, 1, 100, 100), 0.9, dtype=torch.double)
    end = purify(lambda x: -(x - mu) / sigma, start, rule, noise=noise)
    assert abs(end.mean() - mu) < 3e-3
    expected = sigma / math.sqrt(1 - alpha / (2 * sigma))
    assert abs(end.std() / expected - 1) < 0.02


def test_langevin_at_level_one_is_the_printed_update() -> None:
    """Eq. 6: x - a/2 dE/dx + sqrt(a) n, with the score for -dE/dx."""
    x, noise = torch.rand(3, 1, 4, 4).double(), torch.randn(1, 3, 1, 4, 4).double()
    rule = StepRule(steps=1, adaptive=False, alpha=0.02 / 2, clip=False, heat=1.0)
    end = purify(lambda z: 0.5 - z, x, rule, noise=noise)
    torch.testing.assert_close(end, x + 0.02 / 2 * (0.5 - x) + math.sqrt(0.02) * noise[0])


def test_stopped_images_get_no_noise() -> None:
    rule = StepRule(steps=3, adaptive=False, alpha=0.02, tau=0.02, heat=1.0)
    x = torch.rand(2, 1, 3, 3)
    assert torch.equal(purify(torch.ones_like, x, rule, noise=torch.randn(3, *x.shape)), x)


def test_langevin_draws_for_each_step_and_none_before_the_walk() -> None:
    network = Network(nn.Identity(), "score")
    rule = StepRule(steps=4, adaptive=False, alpha=0.02, heat=0.1)
    defense, x = ADP(network, rule, 0.0), torch.rand(3, 1, 5, 5)
    torch.manual_seed(3)
    noise = torch.randn(4, *x.shape)
    torch.manual_seed(3)
    torch.testing.assert_close(defense(x), purify(network, x, rule, noise=noise).clamp(0, 1))
    assert not torch.equal(defense(x), defense(x))


# --- the gradient ------------------------------------------------------------------------------

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "one": lambda: small(0),
    "rotation": lambda: Rotation([small(0), small(1)]),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "rule",
    [
        StepRule(steps=5, adaptive=False, alpha=0.1, heat=0.3),
        StepRule(steps=5, adaptive=False, alpha=0.2, decay=0.01),
        StepRule(steps=5, alpha_max=0.3, lam=0.2),
    ],
)
def test_reverse_walk_equals_autograd(network: str, rule: StepRule) -> None:
    score = NETWORKS[network]()
    torch.manual_seed(0)
    x = torch.rand(70, 2, 6, 6, dtype=torch.double, requires_grad=True)
    noise = torch.randn(5, *x.shape, dtype=torch.double) if rule.heat else None
    held: list[Tensor] = []
    end = purify(score, x, rule, held, noise)
    v = torch.randn_like(end)
    (mine,) = torch.autograd.grad(end, x, v)
    plain = x
    for step, alpha in enumerate(held):
        here = score[step % 2] if isinstance(score, Rotation) else score
        kick = None if noise is None else noise[step]
        plain = rule.update(plain, here(plain), alpha, kick)
    (theirs,) = torch.autograd.grad(plain, x, v)
    assert ((plain == 0) | (plain == 1)).any() or not rule.heat
    torch.testing.assert_close(end, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


# --- falling steps and rotation ----------------------------------------------------------------


def test_step_sizes_fall_by_one_factor_whatever_tau_is() -> None:
    """Supplement C: from .08 to 8e-4 in ten steps; the last lies below tau = 1e-3."""
    held: list[Tensor] = []
    rule = StepRule(adaptive=False, alpha=0.08, decay=0.01)
    purify(torch.ones_like, torch.rand(2, 1, 2, 2), rule, held)
    sizes = torch.stack([alpha.flatten() for alpha in held])
    torch.testing.assert_close(sizes[[0, -1]], torch.tensor([[0.08] * 2, [8e-4] * 2]))
    torch.testing.assert_close(sizes[1:] / sizes[:-1], torch.full((9, 2), 0.01 ** (1 / 9)))


def test_networks_take_turns_beginning_with_the_first() -> None:
    up = Network(nn.Identity(), "up", torch.ones_like)
    down = Network(nn.Identity(), "down", lambda x: -torch.ones_like(x) / 4)
    rule = StepRule(steps=3, adaptive=False, alpha=0.1)
    defense, x = ADP(Rotation([up, down]), rule, 0.0), torch.full((2, 1, 2, 2), 0.5)
    torch.testing.assert_close(defense(x), x + 0.1 * (1 - 0.25 + 1))
    assert (up.forwards, down.forwards) == (4, 2)
    torch.testing.assert_close(defense.direction(x), torch.ones_like(x))


# --- the plug-in -------------------------------------------------------------------------------


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny untrained score networks for digits, with answers that are not zero."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    arguments = {"channels": 1, "widths": [4, 6], "blocks": [1, 1]}
    facts = {"dataset": "digits", "network": "unet", "arguments": json.dumps(arguments)}
    for seed, name in enumerate(("score-dct", "score-augmix")):
        torch.manual_seed(seed)
        network = make("unet", arguments)
        nn.init.normal_(network.get_parameter("head.weight"), std=0.1)
        zoo.save(zoo.own("digits") / f"{name}.safetensors", network.state_dict(), facts)


@pytest.mark.parametrize(
    "spec",
    [
        "adp:network=dct",
        "adp:network=augmix,rule=decay,alpha=0.08,sigma=0",
        "adp:network=rotation,steps=5,detect=3",
        "adp:network=rotation,steps=3,rule=langevin,sigma=0.05",
        "adp:rule=langevin,alpha=0.02,sigma=0.05",
    ],
)
def test_the_family_meets_the_contract(spec: str, networks: None) -> None:
    assert [result for result in contract.check(spec, "digits") if not result.ok] == []


@pytest.mark.parametrize(
    ("text", "weights", "calls", "gradient"),
    [
        ("adp:network=dct", ("score-dct",), {"score": 20}, {"score": (10, 10)}),
        ("adp:network=augmix,rule=decay", ("score-augmix",), {"score": 10}, {"score": (10, 10)}),
        (
            "adp:network=rotation,steps=5,detect=9",
            ("score-dct", "score-augmix"),
            {"score-dct": 7, "score-augmix": 4},
            {"score-dct": (3, 3), "score-augmix": (2, 2)},
        ),
        ("adp:rule=langevin", ("score",), {"score": 10}, {"score": (10, 10)}),
    ],
)
def test_declared_weights_and_calls(
    text: str, weights: tuple[str, ...], calls: dict[str, int], gradient: dict[str, tuple[int, int]]
) -> None:
    plugin, settings = find_defense("adp"), resolved(text)
    assert plugin.weights(settings) == weights
    assert plugin.calls(settings) == calls
    assert plugin.gradient(settings) == gradient


@pytest.mark.parametrize(
    ("settings", "before", "inside"),
    [
        ("rule=langevin", 0.0, 0.1),
        ("rule=fixed", 0.1, 0.0),
        ("rule=langevin,variant=code", 0.1, 0.0),
    ],
)
def test_noise_comes_before_the_walk_or_inside_of_it(
    settings: str, before: float, inside: float
) -> None:
    text = f"adp:sigma=0.1,{settings}@natural"
    (purifier,) = build.defense(text, build.context("digits")).purifiers
    assert isinstance(purifier, ADP)
    assert (purifier.sigma, purifier.rule.heat) == (before, inside)


def test_langevin_is_random_only_with_noise_and_has_none_to_detect() -> None:
    context = build.context("digits")
    assert build.traits("adp:rule=langevin", context).runs == 10
    assert not build.traits("adp:rule=langevin,sigma=0", context).random
    # Its noise comes with its steps; the authors' code has it before the walk, whatever the rule.
    assert not build.traits("adp:rule=langevin,alpha=0", context).random
    assert build.traits("adp:rule=langevin,alpha=0,variant=code", context).random
    with pytest.raises(BenchError, match="detect lowers the noise before the walk"):
        plan.make(Request(["adp:rule=langevin,detect=5"], ["clean"], "digits"))


def test_published_records_keep_their_identity() -> None:
    """The resolved text of adp identifies records; new kinds of steps added no setting to it."""
    common = (
        "lam=0.05,delta=0.001,alpha_min=1e-05,alpha_max=0.1,negative=max,stop=alpha,tau=0.001,"
        "clip=true,detect=0.0,dec_level=0.2,variant=paper,network=unet"
    )
    plugin = find_defense("adp")
    assert str(plugin.resolve(parse_part("adp"), "patches")) == (
        f"adp:sigma=0.09,steps=10,runs=10,rule=fixed,alpha=0.03,{common}"
    )
    assert str(plugin.resolve(parse_part("adp"), "digits")) == (
        f"adp:sigma=0.15,steps=10,runs=10,rule=adaptive,alpha=0.02,{common}"
    )
    assert plugin.version == 1
