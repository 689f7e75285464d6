"""DiffPure, GDMP and gradual scheduling: the authors' numbers, closed forms, exact gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.chain import chain
from bench.api.purifier import Network, Purifier
from bench.errors import BenchError
from bench.spec import Value, parse_part
from defenses.diffpure import DiffPure
from defenses.gdmp import GDMP, guided
from defenses.gradual import Gradual, numbers, schedule
from defenses.schedule import level, sigma, there_and_back
from tests.reference import tensors_of

TIMES = {level(t): t for t in range(1000)}


# --- the authors' code (golden) ----------------------------------------------------------------


@pytest.fixture(scope="module")
def leekim() -> dict[str, Tensor]:
    return tensors_of("leekim")


@pytest.mark.parametrize(
    ("name", "stages", "eta"),
    [
        ("single", ((200, 5),), 1.0),
        ("gradual", ((30, 1), (50, 1), (125, 5)), 1.0),
        ("ddim", ((100, 4),), 0.0),
    ],
)
def test_lee_and_kim(
    leekim: dict[str, Tensor], name: str, stages: tuple[tuple[int, int], ...], eta: float
) -> None:
    asked: list[int] = []

    def prior(x: Tensor, a: float) -> Tensor:
        asked.append(TIMES[a])
        out = F.conv2d(x, leekim["conv_weight"], leekim["conv_bias"], padding=1)
        return out.tanh() * (1 + TIMES[a] / 1000)

    draws = iter(leekim[f"{name}/noise"])
    steps = [
        step
        for length, count in stages
        for step in there_and_back(prior, length, count, lambda: next(draws), eta)
    ]
    end = (chain(steps, 2 * leekim["x"] - 1) + 1) / 2
    torch.testing.assert_close(end, leekim[f"{name}/purified"], rtol=0, atol=1e-4)
    assert asked == leekim[f"{name}/visited"].tolist()
    assert next(draws, None) is None


# --- exact gradients ---------------------------------------------------------------------------


class Denoiser(nn.Module):
    """A small smooth D(x, sigma)."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return (x + s * torch.tanh(2 * self.conv(x))) / (1 + s**2)


def denoiser() -> Network:
    return Network(Denoiser().double(), "denoiser")


def quiet(purifier: Purifier) -> Callable[[Tensor], Tensor]:
    """The purifier with the same noise at every call."""

    def purify(x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            out: Tensor = purifier(x)
        return out

    return purify


PURIFIERS: dict[str, Callable[[Network], Purifier]] = {
    "sde": lambda net: DiffPure(net, 80, 6),
    "ddpm": lambda net: DiffPure(net, 80, 6, "ddpm"),
    "gdmp": lambda net: GDMP(net, 40, 3, 2, 18.7),
    "gradual": lambda net: Gradual(net, ((20, 2), (40, 4)), ((20, 1),)),
    "ddim": lambda net: Gradual(net, ((20, 2), (40, 4)), ((20, 1),), "ddim"),
}


@pytest.mark.parametrize("make", PURIFIERS.values(), ids=PURIFIERS)
def test_gradients_are_exact_and_cost_one_more_call_a_step(
    make: Callable[[Network], Purifier],
) -> None:
    net = denoiser()
    purify = quiet(make(net))
    x = 0.3 + 0.4 * torch.rand(40, 1, 3, 3, dtype=torch.double)
    point = x.clone().requires_grad_()
    v = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(purify(point), point, v)
    assert (net.forwards, net.backwards) == (2 * 6 * 40, 6 * 40)
    along = torch.randn_like(x)
    h = 1e-6
    with torch.no_grad():
        slope = ((purify(x + h * along) - purify(x - h * along)) * v).sum() / (2 * h)
    torch.testing.assert_close((gradient * along).sum(), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make", PURIFIERS.values(), ids=PURIFIERS)
def test_images_do_not_know_their_batch_and_stay_images(
    make: Callable[[Network], Purifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each pixel's noise a function of the shape of one image, alone equals together."""
    torch.manual_seed(5)
    drawn = torch.randn(60, 1, 3, 3, dtype=torch.double)

    def purify(x: Tensor) -> Tensor:
        left = iter(drawn)
        monkeypatch.setattr(torch, "randn_like", lambda z: next(left).expand_as(z))
        out: Tensor = make(denoiser())(x)
        return out

    x = torch.rand(5, 1, 3, 3, dtype=torch.double)
    together = purify(x)
    torch.testing.assert_close(torch.cat([purify(image[None]) for image in x]), together)
    assert together.min() >= 0
    assert together.max() <= 1


# --- DiffPure ----------------------------------------------------------------------------------


def gaussian(x: Tensor, s: Tensor) -> Tensor:
    """D of the prior N(0, .1^2) per pixel of [-1,1] images."""
    return x * 0.01 / (0.01 + s**2)


@pytest.mark.parametrize("sampler", ["sde", "ddpm"])
def test_diffpure_samples_from_the_prior_given_the_noisy_image(sampler: str) -> None:
    """Averaged over the added noise too: mean x w, variance w^2 sigma^2 + posterior variance."""
    torch.manual_seed(0)
    net = Network(nn.Identity(), "denoiser", gaussian)
    t, x = 100, 0.8
    end = DiffPure(net, t, 100, sampler)(torch.full((4000, 1, 1, 1), x, dtype=torch.double))
    s2 = sigma(level(t - 1)) ** 2
    w = 0.01 / (0.01 + s2)
    assert 2 * end.mean() - 1 == pytest.approx(w * (2 * x - 1), abs=0.008)
    assert (2 * end).var() == pytest.approx(w**2 * s2 + w * s2, rel=0.08)


def test_the_samplers_of_diffpure_are_different_chains() -> None:
    """The reverse SDE divides time evenly, however short; DDPM visits whole steps."""
    seen: dict[str, list[float]] = {}
    x = torch.full((1, 1, 1, 1), 0.8, dtype=torch.double)
    for sampler in ("sde", "ddpm"):
        levels = seen.setdefault(sampler, [])

        def denoise(x: Tensor, s: Tensor, into: list[float] = levels) -> Tensor:
            into.append(float(s.flatten()[0]))
            return gaussian(x, s)

        DiffPure(Network(nn.Identity(), "denoiser", denoise), 100, 7, sampler)(x)
    visited = [sigma(a) for a in TIMES]
    assert all(min(abs(s - v) for v in visited) < 1e-9 for s in seen["ddpm"])
    assert not all(min(abs(s - v) for v in visited) < 1e-9 for s in seen["sde"])


# --- GDMP --------------------------------------------------------------------------------------


def test_guidance_pulls_towards_the_diffused_input() -> None:
    """The step minus the unguided one is Sigma_t * guide * sigma_t * (x_adv_t - x_t)."""
    torch.manual_seed(0)
    x, anchor = torch.randn(2, 3, 1, 2, 2, dtype=torch.double)
    zero = torch.zeros_like(x)
    a, b = level(35), level(20)
    z = torch.cat([x, anchor], 1)
    steps = [
        guided(lambda y, _: y, z, (a, b), (zero, zero), guide).chunk(2, 1) for guide in (0.0, 9.0)
    ]
    variance = (1 - a / b) * (1 - b) / (1 - a)
    expected = variance * 9.0 * math.sqrt((1 - a) / a) * (math.sqrt(a) * anchor - x)
    torch.testing.assert_close(steps[1][0] - steps[0][0], expected)
    assert torch.equal(steps[1][1], anchor)


def test_guidance_brings_the_input_back() -> None:
    torch.manual_seed(0)
    net = Network(nn.Identity(), "denoiser", gaussian)
    x = torch.full((500, 1, 1, 1), 0.9, dtype=torch.double)
    ends = [GDMP(net, 36, 36, 2, guide)(x).mean().item() for guide in (0.0, 18.7, 2000.0)]
    assert ends[0] < ends[1] < ends[2] - 0.05
    assert ends[2] < 0.9


# --- gradual: its settings ---------------------------------------------------------------------


def resolved(text: str, dataset: str = "") -> dict[str, Value]:
    plugin = find_defense(parse_part(text).name)
    return dict(plugin.resolve(parse_part(text), dataset).settings)


def test_the_papers_schedules() -> None:
    settings = resolved("gradual")
    assert schedule(settings) == tuple((n, n) for n in [30] * 4 + [50] * 2 + [125] * 2)
    assert schedule(settings, "attack_") == ((30, 1), (50, 1), (125, 5))
    plugin = find_defense("gradual")
    assert plugin.calls(settings) == {"denoiser": 470}
    traits = plugin.traits(settings)
    assert (traits.vote, traits.runs, traits.surrogate) == ("majority", 10, True)
    single = resolved("gradual:forward=200,steps=5,runs=1")
    assert schedule(single) == ((200, 5),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gradual:forward=30;50", "forward=30;50 is not a list such as 30x4-50x2-125x2"),
        ("gradual:forward=30-50-60,steps=1-2", "steps lists 2 stages, forward 3"),
        ("gradual:forward=30,steps=31", "30 noise and 31 denoising"),
        ("gradual:forward=1001,steps=1", "1001 noise"),
        ("gradual:attack_forward=0", "attack_forward=0 is not a list"),
        ("gradual:forward=30x99999999", "has 99999999 stages .at most 1000"),
        ("gradual:forward=30x600-50x401", "has 1001 stages"),
        ("gradual:steps=1x999999999999", "is not a list"),
        ("diffpure:sampler=ddpm,t=50,steps=51", "at most t=50 steps, not 51"),
        ("gdmp:t=4", "at most t=4 steps a round, not 36"),
    ],
)
def test_bad_settings_are_refused_before_any_weights(text: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        resolved(text)


def test_ddim_adds_no_noise_on_the_way_back_and_ddpm_all_of_it() -> None:
    net = Network(nn.Identity(), "denoiser", gaussian)
    one = ((10, 1),)
    assert [Gradual(net, one, one, sampler).eta for sampler in ("ddim", "ddpm")] == [0, 1]


def test_numbers_expand_repeats() -> None:
    assert numbers("forward", "30x2-50") == [30, 30, 50]


@pytest.mark.parametrize("name", ["diffpure", "gdmp", "gradual"])
@pytest.mark.parametrize("dataset", ["patches", "digits"])
def test_the_tables_of_the_embedded_data_resolve(name: str, dataset: str) -> None:
    plugin = find_defense(name)
    settings = resolved(name, dataset)
    calls = plugin.calls(settings)["denoiser"]
    assert isinstance(calls, int)
    assert calls <= 10
    assert plugin.gradient(settings) == {"denoiser": (calls, calls)}
