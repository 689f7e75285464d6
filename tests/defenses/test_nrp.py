"""NRP against the authors' numbers: both networks, their noise, an attack through, their data."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.purifier import Network
from bench.models.foreign.layouts import recognise
from bench.models.nets import make
from bench.spec import parse_part
from defenses.nrp import NRP, perturb
from tests.reference import Classifier, facts_of, tensors_of

FILES = {"nrp_tiny": "nrp", "nrp_resg_tiny": "nrp-resg"}
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
EPS, STEP = 16 / 255, 2 / 255


def network_of(name: str) -> nn.Module:
    state = tensors_of(name, "sd/")
    found = recognise(state, name)
    assert found.network == FILES[name]
    made = make(found.network, found.arguments)
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("name", FILES)
def test_answers_and_gradient_at_any_size(name: str) -> None:
    stored, network = tensors_of(name), network_of(name)
    x = stored["x"].clone().requires_grad_()
    out = network(x)
    torch.testing.assert_close(out, stored["out"], atol=1e-4, rtol=0)
    (g,) = torch.autograd.grad(out, x, stored["v"])
    assert ((g - stored["vjp"]).abs() < 1e-4).float().mean() > 0.995
    torch.testing.assert_close(g, stored["vjp"], atol=1e-2, rtol=0)
    torch.testing.assert_close(network(stored["x_odd"]), stored["out_odd"], atol=1e-4, rtol=0)
    purified = NRP(Network(network, "purifier"))(stored["x"])
    torch.testing.assert_close(purified, stored["out"].clamp(0, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FILES)
def test_noise_before_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, seen = tensors_of(name), []
    monkeypatch.setattr(torch, "randn_like", lambda x: stored["dynamic/noise"])
    network = network_of(name)

    def watched(x: Tensor) -> Tensor:
        seen.append(x.clone())
        out: Tensor = network(x)
        return out

    out = NRP(Network(network, "purifier", watched), dynamic=0.05)(stored["x"])
    torch.testing.assert_close(seen[0], stored["dynamic/input"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out, stored["dynamic/out"].clamp(0, 1), atol=1e-4, rtol=0)


class Seven(Classifier):
    """The golden attacks' classifier with 7 classes."""

    def __init__(self, name: str) -> None:
        nn.Module.__init__(self)
        self.c1, self.c2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear(16, 7)
        self.load_state_dict(tensors_of(name, "clf/"))
        self.requires_grad_(False)


@pytest.mark.parametrize("name", FILES)
def test_the_targeted_attack_through_the_purifier(name: str) -> None:
    stored, classifier = tensors_of(name), Seven(name)
    purify = NRP(Network(network_of(name), "purifier"))
    x = z = stored["x"]

    def logits(point: Tensor) -> Tensor:
        out: Tensor = classifier((purify(point) - MEAN) / STD)
        return out

    torch.testing.assert_close(logits(x), stored["bypass/logits_clean"], atol=1e-3, rtol=0)
    for i in range(1, 11):
        point = z.clone().requires_grad_()
        loss = F.cross_entropy(logits(point), stored["bypass/target"])
        (g,) = torch.autograd.grad(loss, point)
        z = (z - STEP * g.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
        if f"bypass/adv_{i}" in stored:
            same = (z - stored[f"bypass/adv_{i}"]).abs() < 1e-5
            assert same.float().mean() > 0.99
    torch.testing.assert_close(loss, stored["bypass/loss_10th_iteration"], atol=1e-3, rtol=1e-3)


def test_the_perturbation_of_features() -> None:
    stored, told = tensors_of("nrp_ssp"), json.loads(facts_of("nrp_ssp")["constants"])
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
    ).requires_grad_(False)
    layers.load_state_dict(tensors_of("nrp_ssp", "features/"))

    def features(x: Tensor) -> Tensor:
        out: Tensor = layers((x - MEAN) / STD)
        return out

    x, z = stored["x"], stored["start"]
    for k in (1, 2, 3):
        loss = (features(z) - features(x)).square().mean()
        torch.testing.assert_close(loss, stored[f"loss_{k}"], rtol=1e-4, atol=0)
        z = perturb(features, x, z, eps=EPS, step=told["step"], steps=1)
        assert ((z - stored[f"adv_{k}"]).abs() < 1e-5).float().mean() > 0.99
    z = perturb(features, x, stored["start"], eps=EPS, step=told["step"], steps=100)
    assert ((z - stored["adv_100"]).abs() < 1e-5).float().mean() > 0.97
    assert ((z - x).abs() <= EPS + 1e-6).all()


def test_what_is_declared() -> None:
    plugin = find_defense("nrp")

    def settings(text: str) -> dict[str, str | int | float | bool]:
        return dict(plugin.resolve(parse_part(text), "").settings)

    assert plugin.weights(settings("nrp:network=dense")) == ("nrp-dense",)
    still, noisy = (
        plugin.traits(settings("nrp")),
        plugin.traits(settings("nrp:dynamic=0.05,runs=4")),
    )
    assert (still.random, still.exact, still.runs) == (False, True, 1)
    assert (noisy.random, noisy.runs) == (True, 4)
