"""JEM against the authors' numbers: the network, its energy, chains, and both gradients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.context import Weights
from bench.api.purifier import Defense, Network, Traits
from bench.models.foreign.layouts import recognise
from bench.models.nets import make
from bench.models.zoo.networks import rebuild
from bench.spec import parse_part
from defenses.jem import JEM, density
from tests.reference import facts_of, tensors_of

GOLDEN = tensors_of("jem_tiny")
SIZES = json.loads(facts_of("jem_tiny")["constants"])


@pytest.fixture
def network() -> nn.Module:
    state = tensors_of("jem_tiny", "sd/")
    found = recognise(state, "here")
    assert found.network == "jem"
    made = make(found.network, found.arguments)
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


def purifier(network: nn.Module, steps: int, start: float) -> JEM:
    energy = Network(network, "energy", lambda x: -density(network, x))
    return JEM(energy, steps, step=SIZES["step"], noise=SIZES["chain_noise"], start=start)


class Drawn:
    """Gives stored noise in place of fresh one."""

    def __init__(self, stored: Iterator[Tensor]) -> None:
        self.stored = stored

    def __call__(self, x: Tensor) -> Tensor:
        noise = next(self.stored)
        assert noise.shape == x.shape
        return noise


def test_logits_and_density(network: nn.Module) -> None:
    x = 2 * GOLDEN["x_raw"] - 1
    torch.testing.assert_close(network(x), GOLDEN["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(density(network, x), GOLDEN["score"], atol=1e-4, rtol=0)
    up = purifier(network, 1, 0.0).direction(GOLDEN["x_raw"])
    torch.testing.assert_close(up, GOLDEN["score_grad"], atol=1e-5, rtol=0)


def test_a_checkpoint_with_its_buffer_of_samples_is_read(tmp_path: Path) -> None:
    state, file = tensors_of("jem_tiny", "sd/"), tmp_path / "CIFAR10_MODEL.pt"
    torch.save({"model_state_dict": state, "replay_buffer": torch.rand(20, 3, 32, 32)}, file)
    made = rebuild(Weights("jem", file, "", {"dataset": "cifar10"}))
    torch.testing.assert_close(made(GOLDEN["x_raw"]), GOLDEN["logits"], atol=1e-4, rtol=0)


def test_a_chain_takes_the_authors_steps(network: nn.Module) -> None:
    chain = purifier(network, 2, 0.0)
    z, rows = 2 * GOLDEN["x_raw"] - 1, slice(0, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", Drawn(iter(GOLDEN["chain/noise"])))
        for i, step in enumerate(chain.chain(z)):
            torch.testing.assert_close(z, GOLDEN["chain/iterates"][i], atol=1e-4, rtol=0)
            z = step(z, rows)
    torch.testing.assert_close(z, GOLDEN["chain/iterates"][-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("exact", "name"), [(False, "attack_grad"), (True, "own_full_grad")])
def test_refined_logits_and_gradients(network: nn.Module, exact: bool, name: str) -> None:
    """Copies are image-major there, and their mean is of the logits."""
    chain = purifier(network, SIZES["refine_steps"], SIZES["start_noise"])
    chain.traits = Traits(random=True, exact=exact)
    classifier = Network(network, "classifier", lambda x: network(2 * x - 1))
    x = GOLDEN["x_raw"].clone().requires_grad_()
    copies = x.repeat_interleave(SIZES["chains"], 0)
    drawn = [GOLDEN["refined/start_noise"] / 1, *GOLDEN["refined/step_noise"]]
    scale = 1 if drawn[0].std() > 0.5 else 1 / SIZES["start_noise"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", Drawn(iter([drawn[0] * scale, *drawn[1:]])))
        patch.setattr(Tensor, "clamp", lambda x, *a, **k: x)
        logits = Defense(classifier, [chain]).logits(copies).view(len(x), -1, 10).mean(1)
        torch.testing.assert_close(logits, GOLDEN["refined/logits"], atol=1e-3, rtol=0)
        loss = F.cross_entropy(logits, GOLDEN["y"], reduction="sum")
        (g,) = torch.autograd.grad(loss, x)
    stored = GOLDEN[f"refined/{name}"]
    assert (g - stored).abs().max() <= 1e-2 * stored.abs().max()


def test_what_is_declared() -> None:
    plugin = find_defense("jem")

    def traits(text: str) -> Traits:
        return plugin.traits(dict(plugin.resolve(parse_part(text), "").settings))

    assert (traits("jem").random, traits("jem").runs, traits("jem").exact) == (True, 5, False)
    assert traits("jem:steps=0").random
    assert not traits("jem:steps=0,start=0").random
    assert not traits("jem:noise=0,start=0").random
