"""Published layouts at full width with random numbers: each loads from a file and answers once.

Minutes on a CPU, up to 8 GB for guided diffusion:
`pytest -m slow tests/models/foreign/test_full_width.py`
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.api.context import Weights
from bench.models.foreign.discriminators import discriminator
from bench.models.nets.aid import CodeDiscriminator, OnClassifier
from bench.models.nets.edm import Denoiser
from bench.models.nets.wideresnet import WideResNet
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find
from tests.layouts import LAYOUTS, random
from tests.networks import answer, expected

pytestmark = pytest.mark.slow
CLASSES = {"wrn28_10_adp_cifar100": 100}
SIDES = {"guided_diffusion_imagenet256_uncond": 64}  # 256 takes a minute a core
TAPS = ("conv1", "block1.4", "block2.4", "block3.4")


def published(layout: str, path: Path, dataset: str = "cifar10") -> Weights:
    state = random(layout)
    if "sigmas" in state:
        state["sigmas"] = torch.linspace(50, 0.01, len(state["sigmas"]))
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return find(dataset, "any", path)


@pytest.mark.parametrize(
    "layout", sorted(p.stem for p in LAYOUTS.glob("*.json") if "discriminator" not in p.stem)
)
def test_a_layout_loads_and_answers(layout: str, tmp_path: Path) -> None:
    network = rebuild(published(layout, tmp_path / "net.pt"))
    channels, side = (1, 28) if "28x28" in layout else (3, SIDES.get(layout, 32))
    x = torch.rand(1, channels, side, side)
    with torch.no_grad():
        if isinstance(network, Denoiser):
            out = network(x, torch.tensor(0.5))
            assert out.shape == x.shape
        else:
            out = answer(network, x)
            if "wrn" in layout or "adp_simple" in layout:
                assert out.shape == (1, CLASSES.get(layout, 10))
            else:
                assert tuple(out.shape) == expected(network, x, 10)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("dataset", ["cifar10", "svhn"])
def test_a_discriminator_loads_on_the_classifier_that_it_holds(
    dataset: str, tmp_path: Path
) -> None:
    state = random(f"aid_discriminator_{dataset}")
    classifier = WideResNet(depth=34, widen=10).eval().requires_grad_(False)
    parts = ("conv1", "block1", "block2", "block3")
    for key, value in classifier.state_dict().items():
        part, _, rest = key.partition(".")
        if part in parts:
            copy = f"net4.{parts.index(part)}.{rest}"
            assert state[copy].shape == value.shape
            state[copy] = value
    torch.save(state, tmp_path / "madry.pt")
    weights = find(dataset, "aid-code-madry", tmp_path / "madry.pt")
    made = discriminator(weights, classifier, TAPS, dataset, "code")
    assert isinstance(made, CodeDiscriminator)
    with torch.no_grad():
        out = OnClassifier(classifier, made)(torch.rand(2, 3, 32, 32))
    assert out.shape == (2, 1)
    assert torch.isfinite(out).all()
