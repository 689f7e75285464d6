"""DeepFool and Carlini & Wagner on linear models: the nearest boundary is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.apgd import along
from attacks.minimal import CarliniWagner, DeepFool
from bench import api
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network
from bench.compute import rng
from bench.measure.judge import evaluate
from tests.tiny import SHAPE, Affine, Linear, Luck, Noise, images, labels, linear, smooth

WIDE = {"l2": ThreatModel("l2", 100.0), "linf": ThreatModel("linf", 1.0)}


def nearest(defense: Defense, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """The distance of each image to the nearest boundary of a linear classifier, [B]."""
    weight = defense.classifier.module.get_parameter("weight").detach()
    logits = defense.classifier(x)
    gap = logits.gather(1, y[:, None]) - logits
    slope = weight[None] - weight[y][:, None]
    dual = slope.abs().sum(2) if norm == "linf" else slope.norm(dim=2)
    distance = gap / dual
    distance[torch.arange(len(x)), y] = torch.inf
    least: Tensor = distance.amin(1)
    return least


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_goes_straight_to_the_nearest_boundary(norm: str) -> None:
    defense = Defense(linear(4))
    x = 0.3 + images(16) * 0.4
    y = labels(defense, x)
    found = DeepFool()(defense, x, y, WIDE[norm]).x_adv
    assert (defense.predict(found) != y).all()
    wanted = nearest(defense, x, y, norm)
    went = WIDE[norm].distance(found, x)
    assert torch.allclose(went, 1.02 * wanted, atol=1e-4)


def test_deepfool_goes_within_l1_as_in_l2() -> None:
    defense = Defense(linear(4))
    x = 0.3 + images(16) * 0.4
    y = labels(defense, x)
    found = DeepFool()(defense, x, y, ThreatModel("l1", 100.0)).x_adv
    assert (defense.predict(found) != y).all()
    assert torch.equal(found, DeepFool()(defense, x, y, WIDE["l2"]).x_adv)


def test_deepfool_is_the_librarys_on_a_smooth_model() -> None:
    """It applies its overshoot at every step, so that the ways there differ by that much."""
    import torchattacks

    defense = Defense(smooth(5))
    x = images()
    y = labels(defense, x)
    theirs = torchattacks.DeepFool(defense.classifier, steps=50, overshoot=1e-6)
    theirs.set_device("cpu")
    wanted = theirs(x, y).detach()
    found = DeepFool(overshoot=1e-6)(defense, x, y, WIDE["l2"]).x_adv
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_deepfool_looks_at_the_likeliest_classes_only() -> None:
    defense = Defense(linear(6))
    x = images(16)
    y = labels(defense, x)
    runner_up = defense.classifier(x).topk(2).indices[:, 1]
    found = DeepFool(candidates=1)(defense, x, y, WIDE["l2"]).x_adv
    assert torch.equal(defense.predict(found), runner_up)


def test_cw_finds_the_least_distance_by_searching_for_c() -> None:
    defense = Defense(linear(4))
    x = 0.3 + images(16) * 0.4
    y = labels(defense, x)
    wanted = nearest(defense, x, y, "l2")
    attack = CarliniWagner(along("blind", "margin", 1), steps=150, searches=6, c=0.01)
    found = attack(defense, x, y, WIDE["l2"]).x_adv
    assert (defense.predict(found) != y).all()
    went = WIDE["l2"].distance(found, x)
    assert (went >= wanted * 0.999).all()
    assert (went <= wanted * 1.1 + 0.005).all()


def test_cw_moves_pixels_at_the_border_of_the_range() -> None:
    defense = Defense(linear(2))
    x = images(8).round()
    y = labels(defense, x)
    attack = CarliniWagner(along("bpda", "margin", 1), steps=400, searches=1, c=10.0, rate=0.1)
    found = attack(defense, x, y, WIDE["l2"]).x_adv
    assert (defense.predict(found) != y).all()


def test_confidence_asks_for_more() -> None:
    defense = Defense(linear(3))
    x = images()
    y = labels(defense, x)
    went = []
    for confidence in (0.0, 0.5):
        gradient = along("blind", "margin", 1)
        attack = CarliniWagner(gradient, 150, 4, 1.0, confidence=confidence)
        found = attack(defense, x, y, WIDE["l2"]).x_adv
        logits = defense.classifier(found)
        margin = (
            logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None])[:, 0]
        )
        assert (margin > confidence).all()
        went.append(WIDE["l2"].distance(found, x))
    assert (went[1] > went[0]).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_points_outside_the_ball_are_projected_and_count_as_they_are_there(norm: str) -> None:
    """On a linear model an image falls exactly where its nearest boundary is inside the ball."""
    defense = Defense(linear(4))
    x = 0.3 + images(32) * 0.4
    y = labels(defense, x)
    reach = nearest(defense, x, y, norm)
    threat = ThreatModel(norm, float(reach.median()))
    within = 1.02 * reach <= threat.eps
    outside = reach > threat.eps
    outcome = evaluate(defense, DeepFool(), x, y, threat)
    assert not outcome.correct[0, 0][within].any()
    assert outcome.correct[0, 0][outside].all()
    assert torch.allclose(outcome.distance[outside], torch.tensor(threat.eps))
    assert within.any()
    assert outside.any()


def test_deepfool_looks_at_images_only() -> None:
    """Its way to the boundary leaves [0,1]; what it asks the defense does not."""
    asked = []

    class Seen(Linear):
        def forward(self, x: Tensor) -> Tensor:
            asked.append((x.min().item(), x.max().item()))
            return super().forward(x)

    weight = torch.zeros(2, *SHAPE)
    weight[0, :, 0], weight[1, :, 1:] = 1, 0.1
    defense, x = Defense(Network(Seen(weight), "classifier")), torch.zeros(1, *SHAPE)
    x[:, :, 0] = 0.7
    DeepFool(steps=20)(defense, x, torch.zeros(1, dtype=torch.long), WIDE["linf"])
    assert len(asked) > 2
    assert 0 <= min(low for low, _ in asked) <= max(high for _, high in asked) <= 1


def test_cw_that_finds_nothing_hands_the_image_over() -> None:
    defense = Defense(linear(3))
    x = images()
    y = labels(defense, x)
    found = CarliniWagner(along("blind", "margin", 1), steps=1, searches=2)
    assert torch.equal(found(defense, x, y, WIDE["l2"]).x_adv, x)


def test_c_grows_tenfold_until_it_breaks_and_then_is_halfway() -> None:
    """As in the authors' code."""
    tried = []

    class Broken(CarliniWagner):
        def _search(self, defense: Defense, x: Tensor, y: Tensor, c: Tensor) -> Any:
            tried.append(c.item())
            return x, torch.where(c < 0.05, torch.inf, c)

    x = images(1)
    Broken(along("blind", "margin", 1), searches=5, c=0.001)(
        Defense(linear()), x, torch.zeros(1), WIDE["l2"]
    )
    assert tried == pytest.approx([0.001, 0.01, 0.1, 0.055, 0.0325])


def test_means_over_draws_are_not_fooled_by_luck() -> None:
    """A defense that loses an image now and then: one draw says nothing of the boundary."""
    defense = Defense(linear(3), [Luck(0.2)])
    x = 0.3 + images(16) * 0.4
    y = labels(defense, x)
    bare, shares = Defense(defense.classifier), []
    for eot in (1, 64):
        with rng.work("cell"), rng.stream("attack"):
            found = DeepFool(eot=eot)(defense, x, y, WIDE["l2"]).x_adv
        shares.append(float((bare.predict(found) != y).float().mean()))
    assert shares[1] == 1
    assert shares[0] < 1


def test_backward_is_bpdas() -> None:
    """The way leads along the classifier's gradient at the purified image."""
    matrix = torch.diag(torch.linspace(0.5, 1, 16))
    defense = Defense(linear(2), [Affine(matrix)])
    x = images()
    y = defense.predict(x)
    found = DeepFool(steps=1)(defense, x, y, WIDE["l2"]).x_adv
    weight = defense.classifier.module.get_parameter("weight").detach()
    along_weight = (weight[1] - weight[0]) / (weight[1] - weight[0]).norm()
    moved = (found - x).flatten(1)
    inside = ((found > 0) & (found < 1)).flatten(1).all(1)
    cosine = (moved @ along_weight).abs() / moved.norm(dim=1)
    assert inside.any()
    assert torch.allclose(cosine[inside], torch.ones(int(inside.sum())), atol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_blind_deepfool_goes_to_the_bare_classifiers_boundary(norm: str) -> None:
    """On a linear classifier that is a closed form; the purifier is never asked."""

    class Never(Affine):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("a blind attack asked the purifier")

    classifier = linear(4)
    bare, defense = Defense(classifier), Defense(classifier, [Never(torch.eye(16))])
    x = 0.3 + images(16) * 0.4
    y = labels(bare, x)
    plugin = api.find_attack("deepfool")
    found = plugin.factory(gradient="blind")(defense, x, y, WIDE[norm]).x_adv
    assert (bare.predict(found) != y).all()
    wanted = 1.02 * nearest(bare, x, y, norm)
    assert torch.allclose(WIDE[norm].distance(found, x), wanted, atol=1e-4)
    assert plugin.facts({**plugin.defaults, "gradient": "blind"}).knows == "blind"


def test_nothing_to_climb_is_no_error() -> None:
    weight = torch.zeros(3, 16)
    defense = Defense(linear(3), [Noise(0.1)])
    defense.classifier.module.get_parameter("weight").data = weight
    x, y = images(), torch.zeros(8, dtype=torch.long)
    attack = CarliniWagner(along("bpda", "margin", 2), steps=3, searches=2)
    for found in (DeepFool(steps=3, eot=2), attack):
        point = found(defense, x, y, ThreatModel("l2", 0.5)).x_adv
        assert torch.equal(point, x)
