"""RDC against the authors' numbers: weights, class scores, the likeliest image, both gradients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.purifier import Network
from bench.estimate.memory import footprints
from bench.measure import build
from bench.models.foreign.layouts import recognise
from bench.models.nets import make
from bench.models.nets.edm import EDMPrecond
from bench.spec import parse_part
from defenses.rdc import DiffusionClassifier, Likelihood, errors, levels, weight
from defenses.scoreopt_walk import ADAM_EPS, AdamRule, Moving
from tests.reference import facts_of, tensors_of

GOLDEN = tensors_of("rdc")
CLASSES = 10


class Tiny(nn.Module):
    """The golden file's denoiser."""

    def forward(self, x: Tensor, sigma: Tensor, *, classes: Tensor | None = None) -> Tensor:
        s = sigma.reshape(-1, 1, 1, 1)
        stored = GOLDEN

        def layer(x: Tensor, name: str) -> Tensor:
            return F.conv2d(x, stored[f"net/{name}.weight"], stored[f"net/{name}.bias"], padding=1)

        h = layer(x / (s**2 + 0.25).sqrt(), "c1")
        h = h + (stored["net/ws"].view(1, -1, 1, 1) * s.log() / 4)
        if classes is not None:
            h = h + stored["net/emb"][classes][:, :, None, None]
        out = layer(F.silu(h), "c2")
        return 0.25 / (s**2 + 0.25) * x + 0.5 * s / (s**2 + 0.25).sqrt() * out


def classifier(points: int, *, separate: bool) -> DiffusionClassifier:
    sigmas, part = levels(points, 3.0)
    weights = weight(sigmas, 0.5, code=True) * part
    return DiffusionClassifier(Tiny(), CLASSES, sigmas, weights, separate=separate)


def drawing(monkeypatch: pytest.MonkeyPatch, stored: Iterator[Tensor]) -> None:
    def draw(x: Tensor) -> Tensor:
        noise = next(stored)
        assert noise.shape == x.shape
        return noise

    monkeypatch.setattr(torch, "randn_like", draw)


@pytest.mark.parametrize("points", [126, 1001])
def test_levels_and_the_codes_weights(points: int) -> None:
    sigmas, part = levels(points - 1, 3.0)
    stored = {k: GOLDEN[f"schedule{points}/{k}"] for k in ("sigma", "dt", "weight")}
    torch.testing.assert_close(sigmas, stored["sigma"], rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.full_like(sigmas, part), stored["dt"], rtol=1e-4, atol=1e-7)
    found = weight(sigmas, 0.5, code=True) * part
    torch.testing.assert_close(found, stored["weight"], rtol=1e-4, atol=0)


def test_the_papers_density_sums_to_one_and_the_codes_does_not() -> None:
    sigma = torch.linspace(1e-4, 60, 400_000, dtype=torch.float64)
    edm = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    mass = [float((weight(sigma, 0.5, code=c) / edm).sum() * 60 / 400_000) for c in (False, True)]
    assert mass[0] == pytest.approx(1, abs=2e-3)
    assert mass[1] == pytest.approx(1 / 1.2**2, abs=2e-3)


def test_scores_of_shared_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs is drawn image by image."""
    drawing(monkeypatch, iter(GOLDEN["shared/noise"].transpose(0, 1)))
    scores = classifier(12, separate=False)(GOLDEN["x"])
    torch.testing.assert_close(scores, GOLDEN["shared/scores"], rtol=1e-5, atol=1e-5)


def test_scores_of_noise_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, iter(GOLDEN["separate/noise"].transpose(0, 1)))
    scores = classifier(6, separate=True)(GOLDEN["x"][:1])
    torch.testing.assert_close(scores, GOLDEN["separate/scores"], rtol=1e-5, atol=1e-5)


def test_the_gradient_of_an_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, iter(GOLDEN["attack/noise"].transpose(0, 1)))
    x = GOLDEN["x"][:1].clone().requires_grad_()
    logits = classifier(6, separate=True)(x)
    torch.testing.assert_close(logits, GOLDEN["attack/logits"], rtol=1e-5, atol=1e-5)
    (g,) = torch.autograd.grad(F.cross_entropy(logits, GOLDEN["attack/y"]), x)
    stored = GOLDEN["attack/grad_ce"]
    assert (g - stored).abs().max() <= 1e-4 * stored.abs().max()


def likelihood(name: str, steps: int, images: int = 2) -> Likelihood:
    """The code's mean is over the images of its batch too, which Adam's eps shows."""
    lr = {"lm": 0.1, "lm_clip": 0.1, "lm_lr05": 0.05}[name]
    eps = 0.3 if name == "lm_clip" else 100.0
    rule = AdamRule("diff", 0.0, lr, ADAM_EPS * images * GOLDEN["x"][0].numel())
    return Likelihood(Network(Tiny(), "denoiser"), rule, steps, 0.4, 0.6, eps=eps)


@pytest.mark.parametrize("name", ["lm", "lm_clip", "lm_lr05"])
def test_the_likeliest_image_and_the_way_to_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(facts_of("rdc")["lm"])
    assert name in told
    drawn = GOLDEN[f"{name}/t"].unbind(0)
    drawing(monkeypatch, iter(GOLDEN[f"{name}/noise"]))
    made = likelihood(name, len(drawn))
    times = iter(drawn)
    monkeypatch.setattr(made, "level", lambda x: next(times).view(-1, 1, 1, 1))
    z, seen = 2 * GOLDEN["x"] - 1, []
    for step in made.walk(z):
        z = step(z, slice(0, len(z)))
        seen.append(Moving.of(z).point if z.shape[1] > 3 else z)
    between = torch.stack([seen[1], seen[-3]])
    stored = GOLDEN[f"{name}/x_before_step1_and_last"]
    torch.testing.assert_close(between, stored, atol=1e-4, rtol=0)
    out = ((z + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(out, GOLDEN[f"{name}/out"], atol=1e-4, rtol=0)


def test_what_leaves_the_image_as_it_is_draws_nothing() -> None:
    plugin = find_defense("lm")
    for text, random in (("lm:runs=3", True), ("lm:lr=0,runs=3", False), ("lm:eps=0", False)):
        traits = plugin.traits(dict(plugin.resolve(parse_part(text), "digits").settings))
        assert (traits.random, traits.runs) == (random, 3 if random else 1)


def test_maximisation_then_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(GOLDEN["rdc/lm_t"])
    made = likelihood("lm", 5, images=1)
    monkeypatch.setattr(made, "level", lambda x: next(times).view(-1, 1, 1, 1))
    x = GOLDEN["x"][:1]
    drawing(monkeypatch, iter([*GOLDEN["rdc/lm_noise"], *GOLDEN["rdc/noise"][:, None]]))
    scores = classifier(6, separate=False)(made(x))
    torch.testing.assert_close(scores, GOLDEN["rdc/scores"], rtol=1e-4, atol=1e-4)


def test_a_denoiser_of_two_gaussians_tells_them_apart() -> None:
    """Under the right mean the error is that of Tweedie's formula, in closed form."""
    means, var = torch.tensor([-0.5, 0.5]), 0.04

    def denoise(x: Tensor, sigma: Tensor, classes: Tensor) -> Tensor:
        mean = means[classes].view(-1, 1, 1, 1)
        return mean + var / (var + sigma**2) * (x - mean)

    torch.manual_seed(0)
    sigma = torch.tensor(0.3)
    z = (means.view(2, 1, 1, 1) + var**0.5 * torch.randn(2, 3, 64, 64)).contiguous()
    found = errors(denoise, z, sigma, torch.randn_like(z), 2)
    keep = float(sigma**2 / (var + sigma**2))
    own = var * sigma**2 / (var + sigma**2)
    torch.testing.assert_close(found.diagonal(), own.expand(2), rtol=0.05, atol=0)
    torch.testing.assert_close(
        found.flip(1).diagonal(), (own + keep**2).expand(2), rtol=0.05, atol=0
    )


def test_networks_that_are_told_the_class() -> None:
    for name, arguments in {
        "edm": {"widths": [4, 6], "blocks": [1, 1], "embedding": 8, "classes": 3},
        "edm-ddpmpp": {
            "img_resolution": 16, "model_channels": 8, "channel_mult": [1, 2],
            "num_blocks": 1, "attn_resolutions": [8], "label_dim": 3,
        },
    }.items():  # fmt: skip
        torch.manual_seed(0)
        network = make(name, arguments).eval()
        for p in network.parameters():
            nn.init.normal_(p, std=0.2)
        x, sigma = torch.randn(2, 3, 16, 16), torch.tensor(0.5)
        told = [network(x, sigma, classes=torch.full((2,), k)) for k in range(3)]
        assert (told[0] - told[1]).abs().max() > 1e-4
        assert isinstance(network, EDMPrecond)
        if name == "edm-ddpmpp":
            state = {k.removeprefix("model."): v for k, v in network.state_dict().items()}
            assert recognise(state, "here").arguments["label_dim"] == 3


def test_a_plan_asks_one_level_for_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every level has the same ones, and 125 of a full-width denoiser take minutes."""
    asked: list[int] = []

    def counted(*given: Any) -> Tensor:
        asked.append(len(given[1]))
        return errors(*given)

    monkeypatch.setattr("defenses.rdc.errors", counted)
    found = footprints("none@rdc:points=50", "digits", frozenset())
    assert found["classifier"].forward > 0
    assert 0 < len(asked) < 5
    made = build.classifier("rdc:points=50", build.context("digits"))
    asked.clear()
    made(torch.rand(2, 1, 16, 16))
    assert asked == [2] * 50
