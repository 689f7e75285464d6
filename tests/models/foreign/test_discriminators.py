"""Published discriminators: sizes from their tensors, never on another classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.api.context import Weights
from bench.errors import BenchError
from bench.models.foreign.discriminators import discriminator
from bench.models.nets.aid import OnClassifier
from bench.models.nets.wideresnet import WideResNet
from bench.models.zoo.weights import find
from tests.reference import facts_of, tensors_of

TAPS = ("conv1", "block1.0", "block2.0", "block3.0")
PARTS = ("conv1", "block1", "block2", "block3")


@pytest.fixture
def classifier() -> WideResNet:
    network = WideResNet(**json.loads(facts_of("wrn_tiny_robustbench")["config"]))
    network.load_state_dict(tensors_of("wrn_tiny_robustbench", "sd/"))
    return network.eval().requires_grad_(False)


def published(path: Path, classifier: WideResNet, variant: str, copies: bool = True) -> Weights:
    """A checkpoint as the authors save it: own tensors and copies of the classifier's."""
    state = tensors_of("aid", f"{variant}/disc/")
    for key, value in classifier.state_dict().items():
        part, _, rest = key.partition(".")
        if copies and part in PARTS:
            state[f"net4.{PARTS.index(part)}.{rest}"] = value
            state[f"net1.0.{rest}"] = value
    torch.save(state, path)
    return find("cifar10", "aid-code-madry", path)


@pytest.mark.parametrize(("variant", "dataset"), [("cifar", "cifar10"), ("svhn", "svhn")])
def test_a_published_checkpoint_gives_the_authors_logits(
    variant: str, dataset: str, classifier: WideResNet, tmp_path: Path
) -> None:
    weights = published(tmp_path / "madry.pt", classifier, variant)
    made = OnClassifier(classifier, discriminator(weights, classifier, TAPS, dataset, "code"))
    golden = tensors_of("aid")
    assert (made(golden["x"]) - golden[f"{variant}/logit"]).abs().max() < 1e-5
    other = discriminator(weights, classifier, TAPS, "tinyimagenet", "code")
    assert (OnClassifier(classifier, other)(golden["x"]) - made(golden["x"])).abs().max() > 1e-3


def test_on_another_classifier_it_is_refused(classifier: WideResNet, tmp_path: Path) -> None:
    weights = published(tmp_path / "madry.pt", classifier, "cifar")
    classifier.get_parameter("block2.layer.0.conv1.weight").data += 1e-3
    with pytest.raises(BenchError, match="belong to another classifier"):
        discriminator(weights, classifier, TAPS, "cifar10", "code")
    bare = published(tmp_path / "bare.pt", classifier, "cifar", copies=False)
    with pytest.raises(BenchError, match="belong to another classifier"):
        discriminator(bare, classifier, TAPS, "cifar10", "code")


def test_something_else_is_refused(classifier: WideResNet, tmp_path: Path) -> None:
    torch.save(classifier.state_dict(), tmp_path / "wrn.pt")
    found = find("cifar10", "x", tmp_path / "wrn.pt")
    with pytest.raises(BenchError, match="no discriminator of four branches"):
        discriminator(found, classifier, TAPS, "cifar10", "code")
    weights = published(tmp_path / "madry.pt", classifier, "cifar")
    with pytest.raises(BenchError, match="here the paper's discriminator is needed"):
        discriminator(weights, classifier, TAPS, "cifar10", "paper")
    with pytest.raises(BenchError, match="four taps"):
        discriminator(weights, classifier, TAPS[:2], "cifar10", "code")
