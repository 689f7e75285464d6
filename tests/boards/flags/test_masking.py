"""Defenses that only hide their gradients raise alarms; sound ones under sound attacks raise none.

Toys around the packaged digits classifiers, attacked for real, at the preset quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.api import find_attack
from bench.api.attacked import Attack, Attacked
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.boards.board import Board
from bench.boards.flags import flags
from bench.boards.gather import boards
from bench.measure import build
from bench.measure.judge import evaluate
from bench.results.store import Store
from bench.spec import parse_part
from tests.factories import cell, measure, plan

FEW, MANY = 32, 128
SMALL, UNBOUNDED = "linf:0.125", "linf:0.5"
CONTEXT = build.context("digits")


@dataclass(frozen=True)
class Noise:
    """A random point of the ball."""

    def __call__(self, defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel) -> Attacked:
        return Attacked(threat.random_start(x))


class Wrapped(nn.Module):
    """A classifier between two functions."""

    def __init__(
        self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.network = classifier("natural").module
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.network(self.before(x)))
        return out


class Rounded(Purifier):
    """Rounding that claims an exact gradient, which is zero."""

    traits = Traits(exact=True)

    def forward(self, x: Tensor) -> Tensor:
        return (x * 3).round() / 3


class Shaken(Rounded):
    """The same on a random grid."""

    traits = Traits(exact=True, random=True)

    def forward(self, x: Tensor) -> Tensor:
        shift = 0.2 * torch.rand(len(x), 1, 1, 1)
        return ((x + shift) * 3).round() / 3


def classifier(name: str) -> Network:
    defense = build.defense(f"none@{name}", CONTEXT)
    return defense.classifier


def same(x: Tensor) -> Tensor:
    return x


def masked(name: str) -> Defense:
    wrap = {
        "rounding": (lambda x: (x * 3).round() / 3, same),
        "logits x 10,000": (same, lambda z: z * 1e4),
        "zero gradients": (lambda x: x.detach() + 0 * x, same),
        "NaN gradients": (lambda x: x + 0 * (x - x).sqrt(), same),
        "probabilities": (same, lambda z: z.softmax(1)),
    }
    return Defense(Network(Wrapped(*wrap[name]), "classifier"))


def attack_of(text: str) -> Attack:
    if text == "noise":
        return Noise()
    part = parse_part(text)
    return build.attack(str(find_attack(part.name).resolve(part, "digits", "quick")), CONTEXT)


def attacked(
    root: Path, defense: Defense, *attacks: str, threat: str = SMALL, images: int = FEW
) -> list[Board]:
    """The boards of a store, after a deterministic defense was measured under `attacks`."""
    test = build.dataset("digits").images("test")
    x, y = test.x[:images], test.y[:images]
    store, asked = Store(root), []
    for name in ("clean", *attacks):
        within = "none" if name == "clean" else threat
        found = evaluate(defense, attack_of(name), x, y, ThreatModel.parse(within), key=name)
        far = tuple(float(f"{d:.6g}") for d in found.distance.tolist())
        item = measure(
            store,
            cell("toy@natural", name, threat=within, versions="judge=1"),
            found.correct.numpy(),
            trace=found.trace,
            distance=far,
        )
        asked.append(item)
    store.write_plan(plan(asked, images=images, threat=threat))
    return boards(store, "patches")


def alarms(found: list[Board]) -> dict[str, set[str]]:
    """Column -> sentences, over every board."""
    said: dict[str, set[str]] = {}
    for flag in (flag for board in found for flag in flags(board, found)):
        if flag.kind == "alarm":
            said.setdefault(flag.attack, set()).add(flag.text)
    return said


@pytest.mark.parametrize("name", ["natural", "madry", "trades"])
def test_sound_attacks_on_plain_and_adversarially_trained_networks_raise_none(
    name: str, tmp_path: Path
) -> None:
    defense = Defense(classifier(name))
    attacked(tmp_path, defense, "classifier-pgd", "square", "noise", images=64)
    assert alarms(attacked(tmp_path, defense, "classifier-pgd", threat=UNBOUNDED)) == {}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rounding", "the gradient is exactly zero"),
        ("logits x 10,000", "the gradient is exactly zero"),
        ("zero gradients", "the gradient is exactly zero"),
        ("NaN gradients", "the gradient is not a number"),
    ],
)
def test_networks_that_mask_their_gradients_raise_alarms(
    name: str, sentence: str, tmp_path: Path
) -> None:
    found = alarms(attacked(tmp_path, masked(name), "classifier-pgd"))
    assert any(text.startswith(sentence) for text in found["classifier-pgd"])


LIBRARIES = (
    *("fgsm", "bim", "vmi-fgsm", "jitter", "deepfool"),
    *("autoattack:attacks=apgd-ce", "autoattack:attacks=apgd-t", "autoattack:attacks=fab-t"),
)

CW = "cw:steps=5,searches=1"


@pytest.mark.parametrize("attack", LIBRARIES)
def test_attacks_that_hand_over_no_trace_raise_the_same_alarms(attack: str, tmp_path: Path) -> None:
    found = alarms(attacked(tmp_path, masked("zero gradients"), attack))
    assert any(text.startswith("the gradient is exactly zero") for text in found[attack])


def test_cw_raises_the_same_alarm_in_l2(tmp_path: Path) -> None:
    found = alarms(attacked(tmp_path, masked("rounding"), CW, threat="l2:1"))
    assert any(text.startswith("the gradient is exactly zero") for text in found[CW])


def test_gradients_that_are_not_a_number_are_seen_in_a_library_too(tmp_path: Path) -> None:
    found = alarms(attacked(tmp_path, masked("NaN gradients"), "bim"))
    assert any(text.startswith("the gradient is not a number") for text in found["bim"])


@pytest.mark.parametrize("network", ["natural", "madry"])
def test_sound_libraries_on_sound_networks_raise_none(network: str, tmp_path: Path) -> None:
    defense = Defense(classifier(network))
    found = attacked(tmp_path, defense, "autoattack", "bim", "vmi-fgsm", "jitter", "deepfool")
    assert alarms(found) == {}
    (row,) = found[0].rows
    traces = [record.trace for e in row.entries.values() for record in e.any.records]
    assert not any(traces)


def test_a_random_defense_that_masks_its_gradient_raises_an_alarm_in_autoattack(
    tmp_path: Path,
) -> None:
    defense = Defense(classifier("natural"), [Shaken()])
    found = alarms(attacked(tmp_path, defense, "autoattack:gradient=exact"))
    said = " ".join(found["autoattack:gradient=exact"])
    assert "the gradient is exactly zero" in said


def test_a_purifier_that_masks_its_gradient_raises_an_alarm(tmp_path: Path) -> None:
    defense = Defense(classifier("natural"), [Rounded()])
    found = alarms(attacked(tmp_path, defense, "pgd-exact", "square"))
    assert any(text.startswith("the gradient is exactly zero") for text in found["pgd-exact"])
    assert any(text.startswith("knows less than pgd-exact") for text in found["square"])


def test_noise_and_no_bound_betray_a_masked_network(tmp_path: Path) -> None:
    hidden = masked("zero gradients")
    attacked(tmp_path, hidden, "classifier-pgd", "noise", images=MANY)
    found = alarms(attacked(tmp_path, hidden, "classifier-pgd", threat=UNBOUNDED))
    assert any(text.startswith(f"within {UNBOUNDED}") for text in found["classifier-pgd"])
    assert any(text.startswith("random noise") for text in found["classifier-pgd"])


def test_a_one_step_attack_raises_an_alarm(tmp_path: Path) -> None:
    found = alarms(attacked(tmp_path, Defense(classifier("natural")), "classifier-pgd:steps=1"))
    said = " ".join(found["classifier-pgd:steps=1"])
    assert "the loss does not rise" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("logits x 10,000", "softmax is exactly 0 for every class but one"),
        ("probabilities", "the classifier hands out probabilities"),
    ],
)
def test_outputs_that_are_no_logits_raise_an_alarm(
    name: str, sentence: str, tmp_path: Path
) -> None:
    found = alarms(attacked(tmp_path, masked(name)))
    assert [text.startswith(sentence) for text in found[""]] == [True]


def test_what_a_sound_network_shows_adds_nothing_to_its_records() -> None:
    test = build.dataset("digits").images("test")
    x, y = test.x[:8], test.y[:8]
    defense, threat = Defense(classifier("natural")), ThreatModel.parse(SMALL)
    clean = evaluate(defense, attack_of("clean"), x, y, ThreatModel.parse("none"), key="k")
    assert clean.trace == {}
    found = evaluate(defense, attack_of("classifier-pgd"), x, y, threat, key="k")
    assert set(found.trace) == {"first_loss", "last_loss", "zero_gradients"}
    assert not defense.classifier._forward_hooks
    torch.testing.assert_close(defense.classifier(x).argmax(1) == y, clean.correct[0, 0])
