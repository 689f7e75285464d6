"""Names to warm objects, and the errors on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.api.purifier import CLASSIFIER, Traits
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.models.zoo.weights import packaged
from bench.spec import parse_defense
from defenses.adp import ADP

pytestmark = pytest.mark.skipif(
    not (packaged("digits") / "score.safetensors").is_file(), reason="no packaged weights yet"
)


@pytest.fixture(autouse=True)
def _no_weights_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


def test_a_defense_from_its_name() -> None:
    context = build.context("digits")
    defense = build.defense("adp:sigma=0,steps=2,rule=fixed@madry", context)
    (purifier,) = defense.purifiers
    assert isinstance(purifier, ADP)
    assert purifier.traits == Traits(
        random=False, exact=True, direction=True, one_step=True, runs=1
    )
    assert [net.name for net in defense.networks()] == [CLASSIFIER, "score"]
    x = build.dataset("digits").images("validation").x[:3]
    assert defense.predict(x).shape == (3,)
    assert defense.calls() == {CLASSIFIER: (3, 0), "score": (6, 0)}
    assert not any(p.requires_grad for p in defense.classifier.parameters())


def test_warm_objects_are_kept() -> None:
    context = build.context("digits")
    assert build.context("digits", torch.device("cpu"), {}) is context
    assert build.defense("none@natural", context) is build.defense("none", context)
    assert build.defense("none@twin", context) is not build.defense("none", context)


def test_stacks_purify_in_order() -> None:
    context = build.context("digits")
    defense = build.defense("median+gaussian:runs=4", context)
    assert [type(p).__name__ for p in defense.purifiers] == ["Median", "Gaussian"]
    assert (defense.runs, defense.random, defense.exact) == (4, True, True)


def test_settings_of_the_data_set_are_used_and_typed_ones_win() -> None:
    digits, patches = build.context("digits"), build.context("patches")
    assert build.traits("adp", digits).random
    assert not build.traits("adp:sigma=0", patches).random
    for context, rule, sigma in ((digits, True, 0.15), (patches, False, 0.09)):
        adp = build.purifier("adp", context)
        assert isinstance(adp, ADP)
        assert (adp.rule.adaptive, adp.sigma) == (rule, sigma)


def test_context_holds_what_factories_need() -> None:
    context = build.context("digits")
    assert (context.shape, context.classes, context.device) == (
        (1, 16, 16),
        10,
        torch.device("cpu"),
    )
    assert context.train().shape[1:] == context.shape
    assert context.weights("natural").path.parent == packaged("digits")


def test_weights_used_by_a_defense() -> None:
    context = build.context("digits")
    used = weights_used.weights_used("adp@madry", None, context)
    assert set(used) == {"score", "madry"}
    assert used["score"] == context.weights("score").sha256
    assert weights_used.weights_used("adp@madry", None, "digits") == used
    assert set(weights_used.weights_used(parse_defense("median"), None, context)) == {"natural"}


def test_weights_can_be_overridden() -> None:
    other = packaged("digits") / "twin.safetensors"
    context = build.context("digits", "cpu", {"natural": other})
    assert weights_used.weights_used("none", None, context) == {
        "natural": build.context("digits").weights("twin").sha256
    }


def test_known_weights_include_every_choice() -> None:
    assert {"natural", "madry", "trades", "score", "score-ncsnv2"} <= set(
        weights_used.known_weights("digits")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adpp", "did you mean 'adp'"),
        ("adp@natral", "did you mean 'natural'"),
        ("adp@file:net.pt", r"cannot read weights net\.pt: No such file"),
        ("none@robustbench/Standard", "models for cifar10, cifar100, imagenet, not for 'digits'"),
        ("adp:sigm=1", "did you mean 'sigma'"),
        ("adp:sigma=-1", "out of range"),
        ("adp:rule=adaptve", "did you mean 'adaptive'"),
        ("adp:runs=1.5", "not a whole number"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        build.defense(text, build.context("digits"))
    assert "\n" not in str(caught.value)


def test_unknown_data_sets_and_devices_are_one_line() -> None:
    with pytest.raises(BenchError, match="did you mean 'digits'"):
        build.context("digit")
    for device in ("gpu", "cuda:99"):
        with pytest.raises(BenchError, match="is not available here"):
            build.context("digits", device)


def test_missing_weights_name_the_command() -> None:
    with pytest.raises(BenchError, match="does not exist"):
        build.defense(
            "none@madry", build.context("digits", "cpu", {"madry": Path("no.safetensors")})
        )


def test_weights_of_another_network_are_no_classifier() -> None:
    files = {"natural": packaged("digits") / "score.safetensors"}
    with pytest.raises(BenchError, match=r"gives \(1, 1, 16, 16\) .* not \(1, 10\)"):
        build.classifier("natural", build.context("digits", weights_override=files))
